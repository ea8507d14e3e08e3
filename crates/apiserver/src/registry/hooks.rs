//! What a kind needs of the whole cluster when it is written: service addresses and node ports
//! (`BeginCreate`, `BeginUpdate`, `AfterDelete` in store.go).
use async_trait::async_trait;
use isopod_api::catalogue::Object;
use isopod_api::status::ApiError;

/// Settled once the write is done (`true`) or given up (`false`).
pub type Reservation = Box<dyn FnOnce(bool) + Send>;

#[async_trait]
pub trait Hooks: Send + Sync {
    /// Group and plural of the kind.
    fn resource(&self) -> (&'static str, &'static str);
    /// Before a new object's validation; may fill in what the cluster assigns.
    async fn begin_create(&self, object: &mut dyn Object, dry_run: bool) -> Result<Option<Reservation>, ApiError>;
    /// Before an update's validation.
    async fn begin_update(
        &self,
        new: &mut dyn Object,
        old: &dyn Object,
        dry_run: bool,
    ) -> Result<Option<Reservation>, ApiError>;
    /// After an object is gone for good.
    async fn after_delete(&self, object: &dyn Object);
}
