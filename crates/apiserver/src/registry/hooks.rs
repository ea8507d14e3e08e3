//! What a kind needs of the whole cluster when it is written: service addresses and node ports
//! (`BeginCreate`, `BeginUpdate`, `AfterDelete` in store.go, but inside the transaction that writes the object).
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::status::ApiError;
use isopod_store::{Compare, Op};

/// Keys to compare and write beside an object, in its own transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

#[async_trait]
pub trait Hooks: Send + Sync {
    /// Group and plural of the kind.
    fn resource(&self) -> (&'static str, &'static str);
    /// After `prepare_*` and before the validation of a new object (no `old`) or of an update: fills in what the cluster assigns, and refuses what is
    /// asked for and not to be had. Called again when somebody else took it meanwhile.
    async fn assign(&self, new: &mut dyn Object, old: Option<&dyn Object>) -> Result<(), ApiError>;
    /// What goes with the change from `old` to `new` (`None`: there is no such object) of the object at `key`.
    fn beside(&self, key: &str, new: Option<&dyn Object>, old: Option<&dyn Object>) -> Extra;
}
