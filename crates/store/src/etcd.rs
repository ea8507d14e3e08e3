//! The store on an etcd cluster, for several servers: the same trait, one request each, the cluster's own revisions.
//!
//! Facts of etcd that the code rests on (API reference, "etcd API guarantees"): a transaction is linearizable and its header
//! carries the store's revision; `create_revision` 0 means absent; reads older than the compacted revision fail with
//! `OutOfRange`; a watch is cancelled with `compact_revision` set when its start was compacted away.
use crate::embedded::last_of_each_key;
use crate::seal::Sealer;
use crate::{
    Compare, Error, Event, KeyValue, Op, Range, RangeResult, Result, Revision, Stats, Store, TxnOutcome, WatchBatch,
};
use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, CompareOp, ConnectOptions, EventType, GetOptions, GetResponse, Identity, KvClient,
    ResponseHeader, TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchResponse, WatchStream,
};
use futures::stream::{self, BoxStream, StreamExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// A list of a large cluster comes in one message (etcd's clients of Kubernetes have no limit either).
const MESSAGE_BYTES: usize = 1 << 30;

/// How to reach an etcd cluster.
#[derive(Debug)]
pub struct Options {
    /// `etcd://host:port[,host:port…]`.
    pub url: String,
    /// `None`: the connection is neither encrypted nor authenticated.
    pub tls: Option<Tls>,
    /// History older than this is compacted; `None`: somebody else does it.
    pub keep: Option<Duration>,
    /// Seals values before they leave this process.
    pub sealer: Sealer,
}

/// Files in PEM, named as kube-apiserver's `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile`.
#[derive(Clone, Debug)]
pub struct Tls {
    pub ca: PathBuf,
    /// The certificate and key of this client, if the cluster asks for them.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn read(&self) -> Result<TlsOptions> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| Error::Etcd(format!("cannot read {}: {error}", path.display())))
        };
        let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&self.ca)?));
        match &self.client {
            Some((certificate, key)) => Ok(tls.identity(Identity::from_pem(read(certificate)?, read(key)?))),
            None => Ok(tls),
        }
    }
}

/// The store on an etcd cluster.
pub struct Etcd {
    client: Client,
    kv: KvClient,
    sealer: Arc<Sealer>,
    /// The newest revision that this process knows to be compacted: etcd does not tell.
    oldest: Arc<AtomicU64>,
    _compactor: Option<AbortOnDropHandle<()>>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").finish_non_exhaustive()
    }
}

impl Etcd {
    /// Connects; an unreachable cluster is an error at once.
    pub async fn connect(options: Options) -> Result<Self> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(REQUEST_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_require_leader(true);
        if let Some(tls) = &options.tls {
            connect = connect.with_tls(tls.read()?);
        }
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let client = Client::connect(endpoints(&options.url, scheme), Some(connect)).await.map_err(etcd)?;
        let kv = client.kv_client().max_decoding_message_size(MESSAGE_BYTES);
        let oldest = Arc::new(AtomicU64::new(0));
        let compactor = options
            .keep
            .map(|keep| AbortOnDropHandle::new(tokio::spawn(compact_regularly(kv.clone(), Arc::clone(&oldest), keep))));
        let store = Self { client, kv, sealer: Arc::new(options.sealer), oldest, _compactor: compactor };
        store.revision().await?;
        Ok(store)
    }

    async fn read(&self, from: Vec<u8>, end: Vec<u8>, options: GetOptions) -> Result<GetResponse> {
        self.kv.clone().get(from, Some(options.with_range(end))).await.map_err(etcd)
    }

    /// Whether the store as of `at` can still be read: `Compacted` or `Future` if not.
    async fn check(&self, at: Revision) -> Result<()> {
        // Revision 0 would be the newest.
        let options = GetOptions::new().with_count_only().with_revision(signed(at.max(1)));
        match self.kv.clone().get("/", Some(options)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(at, error).await),
        }
    }

    async fn explain(&self, requested: Revision, error: etcd_client::Error) -> Error {
        if is_compacted(&error) {
            return Error::Compacted {
                requested,
                oldest: self.oldest.load(Ordering::Relaxed).max(requested.saturating_add(1)),
            };
        }
        if is_future(&error) {
            return match self.revision().await {
                Ok(current) => Error::Future { requested, current },
                Err(error) => error,
            };
        }
        etcd(error)
    }
}

fn endpoints(url: &str, scheme: &str) -> Vec<String> {
    let hosts = url.strip_prefix("etcd://").unwrap_or(url).split(',').map(str::trim);
    hosts.filter(|host| !host.is_empty()).map(|host| format!("{scheme}://{host}")).collect()
}

/// Compacts to where the store was one period ago. Several servers doing so do no harm.
async fn compact_regularly(mut kv: KvClient, oldest: Arc<AtomicU64>, keep: Duration) {
    let mut before = None;
    loop {
        tokio::time::sleep(keep).await;
        if let Some(revision) = before {
            match kv.compact(signed(revision), None).await {
                Ok(_) => drop(oldest.fetch_max(revision, Ordering::Relaxed)),
                Err(error) if is_compacted(&error) => {}
                Err(error) => tracing::warn!(%error, "etcd was not compacted"),
            }
        }
        match kv.get("/", Some(GetOptions::new().with_count_only())).await {
            Ok(response) => before = Some(revision(response.header())),
            Err(error) => tracing::warn!(%error, "etcd did not tell its revision"),
        }
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<Revision> {
        let response = self.kv.clone().get("/", Some(GetOptions::new().with_count_only())).await.map_err(etcd)?;
        Ok(revision(response.header()))
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>> {
        let response = self.kv.clone().get(key, None).await.map_err(etcd)?;
        response.kvs().first().map(|found| open(&self.sealer, found)).transpose()
    }

    async fn range(&self, range: Range) -> Result<RangeResult> {
        if range.revision == Some(0) {
            self.check(0).await?;
            return Ok(RangeResult { items: Vec::new(), revision: 0, remaining: 0 });
        }
        let from = match range.after {
            Some(after) if after >= range.prefix => [after.as_bytes(), b"\0"].concat(),
            _ => first_key(&range.prefix),
        };
        let end = end_of(&range.prefix);
        if end != [0] && from >= end {
            // Nothing can be there, but the revision must still be readable.
            self.check(range.revision.unwrap_or(0)).await?;
            let revision = match range.revision {
                Some(revision) => revision,
                None => self.revision().await?,
            };
            return Ok(RangeResult { items: Vec::new(), revision, remaining: 0 });
        }
        let mut options = GetOptions::new().with_range(end).with_limit(i64::try_from(range.limit).unwrap_or(i64::MAX));
        if let Some(revision) = range.revision {
            options = options.with_revision(signed(revision));
        }
        let response = match self.kv.clone().get(from, Some(options)).await {
            Ok(response) => response,
            Err(error) => return Err(self.explain(range.revision.unwrap_or(0), error).await),
        };
        let items = response.kvs().iter().map(|found| open(&self.sealer, found)).collect::<Result<Vec<_>>>()?;
        let remaining = usize::try_from(response.count()).unwrap_or(0).saturating_sub(items.len());
        Ok(RangeResult { items, revision: range.revision.unwrap_or_else(|| revision(response.header())), remaining })
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome> {
        let mut writes = Vec::with_capacity(ops.len());
        for (key, value) in last_of_each_key(ops) {
            writes.push(match value {
                Some(value) if self.sealer.covers(&key) => TxnOp::put(&*key, self.sealer.seal(&key, &value)?, None),
                Some(value) => TxnOp::put(&*key, value, None),
                None => TxnOp::delete(&*key, None),
            });
        }
        let reads: Vec<_> = compares.iter().map(|compare| TxnOp::get(compared(compare), None)).collect();
        let conditions: Vec<_> = compares.iter().flat_map(condition).collect();
        let txn = Txn::new().when(conditions).and_then(writes).or_else(reads);
        let response = self.kv.clone().txn(txn).await.map_err(etcd)?;
        let revision = revision(response.header());
        if response.succeeded() {
            return Ok(TxnOutcome::Committed(revision));
        }
        let current = response.op_responses().into_iter().map(|read| match read {
            TxnOpResponse::Get(read) => read.kvs().first().map(|found| open(&self.sealer, found)).transpose(),
            _ => Err(Error::Etcd("a read was answered with something else".to_owned())),
        });
        Ok(TxnOutcome::Failed { current: current.collect::<Result<_>>()?, revision })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<BoxStream<'static, Result<WatchBatch>>> {
        self.check(after).await?;
        let options = WatchOptions::new()
            .with_range(end_of(prefix))
            .with_start_revision(signed(after.saturating_add(1)))
            .with_prev_key();
        let mut client = self.client.watch_client().max_decoding_message_size(MESSAGE_BYTES);
        let stream = client.watch(first_key(prefix), Some(options)).await.map_err(etcd)?;
        let watcher = Watcher { stream, sealer: Arc::clone(&self.sealer), seen: after, ended: false };
        Ok(stream::unfold(watcher, Watcher::next).boxed())
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        match self.kv.clone().compact(signed(to), None).await {
            Ok(_) => {
                self.oldest.fetch_max(to, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if is_compacted(&error) => Ok(()),
            Err(error) => Err(self.explain(to, error).await),
        }
    }

    async fn stats(&self) -> Result<Stats> {
        let status = self.client.maintenance_client().status().await.map_err(etcd)?;
        let all = self.read(first_key(""), end_of(""), GetOptions::new().with_count_only()).await?;
        Ok(Stats {
            keys: usize::try_from(all.count()).unwrap_or(0),
            disk_bytes: u64::try_from(status.db_size()).unwrap_or(0),
            oldest: self.oldest.load(Ordering::Relaxed),
            revision: revision(all.header()),
        })
    }
}

struct Watcher {
    stream: WatchStream,
    sealer: Arc<Sealer>,
    seen: Revision,
    ended: bool,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<WatchBatch>, Self)> {
        while !self.ended {
            let step = match self.stream.message().await {
                Ok(Some(response)) => self.batch(&response),
                Ok(None) => Err(Error::Closed),
                Err(error) => Err(etcd(error)),
            };
            match step {
                Ok(None) => {}
                Ok(Some(batch)) => return Some((Ok(batch), self)),
                Err(error) => {
                    self.ended = true;
                    return Some((Err(error), self));
                }
            }
        }
        None
    }

    fn batch(&mut self, response: &WatchResponse) -> Result<Option<WatchBatch>> {
        if response.compact_revision() > 0 {
            return Err(Error::TooSlow);
        }
        if response.canceled() {
            return Err(Error::Etcd(format!("watch was cancelled: {}", response.cancel_reason())));
        }
        let events = response.events().iter().map(|event| self.event(event)).collect::<Result<Vec<_>>>()?;
        self.seen = events.last().map_or(self.seen, |event| event.revision);
        Ok((!events.is_empty()).then(|| events.into()))
    }

    fn event(&self, event: &etcd_client::Event) -> Result<Event> {
        let changed = event.kv().ok_or_else(|| Error::Etcd("an event without its key".to_owned()))?;
        let value = match event.event_type() {
            EventType::Put => Some(open(&self.sealer, changed)?),
            EventType::Delete => None,
        };
        let previous = event.prev_kv().map(|previous| open(&self.sealer, previous)).transpose()?;
        Ok(Event { revision: unsigned(changed.mod_revision()), key: key_of(changed)?, value, previous })
    }
}

fn open(sealer: &Sealer, found: &etcd_client::KeyValue) -> Result<KeyValue> {
    let key = key_of(found)?;
    let value = match found.value() {
        sealed if Sealer::is_sealed(sealed) => Bytes::from(sealer.open(&key, sealed)?),
        plain => Bytes::copy_from_slice(plain),
    };
    let (create_revision, mod_revision) = (unsigned(found.create_revision()), unsigned(found.mod_revision()));
    Ok(KeyValue { key, value, create_revision, mod_revision })
}

fn key_of(found: &etcd_client::KeyValue) -> Result<Arc<str>> {
    found.key_str().map(Arc::from).map_err(|error| Error::Damaged(format!("a key in etcd is not UTF-8: {error}")))
}

fn compared(compare: &Compare) -> &str {
    let (Compare::Absent(key) | Compare::ModRevision(key, _)) = compare;
    key
}

fn condition(compare: &Compare) -> Vec<etcd_client::Compare> {
    match compare {
        Compare::Absent(key) => vec![etcd_client::Compare::create_revision(&**key, CompareOp::Equal, 0)],
        // What is absent has mod revision 0, which nobody may mean.
        Compare::ModRevision(key, revision) => vec![
            etcd_client::Compare::mod_revision(&**key, CompareOp::Equal, signed(*revision)),
            etcd_client::Compare::create_revision(&**key, CompareOp::Greater, 0),
        ],
    }
}

/// Where keys with this prefix begin; etcd has no empty key.
fn first_key(prefix: &str) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix.as_bytes().to_vec() }
}

/// The end of the keys with this prefix: its last byte plus one (UTF-8 has no 0xff); of all keys `\0`, as etcd has it.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last = last.saturating_add(1),
        None => end.push(0),
    }
    end
}

fn is_compacted(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("required revision has been compacted"))
}

fn is_future(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("required revision is a future revision"))
}

fn etcd(error: etcd_client::Error) -> Error {
    match error {
        etcd_client::Error::GRpcStatus(status) => Error::Etcd(status.message().to_owned()),
        other => Error::Etcd(other.to_string()),
    }
}

fn revision(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| unsigned(header.revision()))
}

fn unsigned(revision: i64) -> Revision {
    u64::try_from(revision).unwrap_or(0)
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
