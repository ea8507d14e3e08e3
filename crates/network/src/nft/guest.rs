//! Rules of ours in somebody else's table: each carries a comment by which it is found again and taken away.
use super::abi::*;
use super::encode::{Batch, comment_data};
use super::model::Rule;
use crate::netlink::{Attributes, Message, Socket};
use std::io;

/// A guest in one IPv4 table.
pub(crate) struct Guest<'a> {
    pub(crate) table: &'a str,
    pub(crate) comment: &'a str,
}

impl Guest<'_> {
    /// Puts these rules before all others of the chain, if it drops what nobody accepts; a chain that is not there needs none. What
    /// is there already stays.
    pub(crate) fn enter(&self, socket: &mut Socket, chain: &str, rules: &[Rule]) -> io::Result<()> {
        if !self.drops(socket, chain)? || self.rules(socket, chain)?.len() == rules.len() {
            return Ok(());
        }
        self.leave(socket, chain)?;
        let mut batch = Batch::new(self.table);
        rules.iter().rev().for_each(|rule| batch.insert_rule(chain, rule, self.comment));
        let (messages, closing) = batch.finish();
        socket.transaction(messages, closing)
    }

    /// Takes them away.
    pub(crate) fn leave(&self, socket: &mut Socket, chain: &str) -> io::Result<()> {
        let mut batch = Batch::new(self.table);
        self.rules(socket, chain)?.into_iter().for_each(|handle| batch.delete_rule(chain, handle));
        if batch.is_empty() {
            return Ok(());
        }
        let (messages, closing) = batch.finish();
        socket.transaction(messages, closing)
    }

    /// Whether the chain is there and its policy is to drop.
    fn drops(&self, socket: &mut Socket, chain: &str) -> io::Result<bool> {
        let mut question = message(libc::NFT_MSG_GETCHAIN, 0, self.table);
        question.put_text(NFTA_CHAIN_NAME, chain);
        let answers = match socket.request(question) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            other => other?,
        };
        let drop = libc::NF_DROP.to_be_bytes();
        Ok(answers.iter().any(|answer| attributes(&answer.payload).find(NFTA_CHAIN_POLICY) == Some(drop.as_slice())))
    }

    /// Handles of our rules in the chain.
    fn rules(&self, socket: &mut Socket, chain: &str) -> io::Result<Vec<[u8; 8]>> {
        let mut question = message(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, self.table);
        question.put_text(NFTA_RULE_CHAIN, chain);
        let answers = match socket.request(question) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
            other => other?,
        };
        let comment = comment_data(self.comment);
        let ours = answers.iter().map(|answer| attributes(&answer.payload)).filter(|rule| {
            let here = rule.text(NFTA_RULE_TABLE) == Some(self.table) && rule.text(NFTA_RULE_CHAIN) == Some(chain);
            here && rule.find(NFTA_RULE_USERDATA) == Some(comment.as_slice())
        });
        Ok(ours.filter_map(|rule| rule.find(NFTA_RULE_HANDLE)?.try_into().ok()).collect())
    }
}

fn message(kind: i32, flags: i32, table: &str) -> Message {
    let kind = (libc::NFNL_SUBSYS_NFTABLES << 8 | kind) as u16;
    let mut message = Message::new(kind, flags, &[libc::NFPROTO_IPV4 as u8, 0, 0, 0]);
    message.put_text(NFTA_RULE_TABLE, table);
    message
}

fn attributes(payload: &[u8]) -> Attributes<'_> {
    Attributes(payload.get(4..).unwrap_or_default())
}
