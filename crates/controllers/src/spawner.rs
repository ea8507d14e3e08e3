//! What every controller is started with: clients under its own name, the shared mirrors, and the end.
use isopod_reflect::{Change, HasMeta, Queue, Reflector, Reflectors, Verdict};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts controllers and waits for them.
pub struct Spawner {
    clients: Box<dyn Fn(&str) -> kube::Client + Send + Sync>,
    pub(crate) reflectors: Reflectors,
    pub(crate) shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// Mirrors that must be true before a controller acts on them.
#[async_trait::async_trait]
pub trait Mirrors: Send + Sync + 'static {
    async fn synced(&self);
}

#[async_trait::async_trait]
impl<A: HasMeta> Mirrors for Reflector<A> {
    async fn synced(&self) {
        Reflector::synced(self).await;
    }
}

#[async_trait::async_trait]
impl Mirrors for () {
    async fn synced(&self) {}
}

macro_rules! mirrors {
    ($($name:ident)+) => {
        #[async_trait::async_trait]
        impl<$($name: HasMeta),+> Mirrors for ($(Reflector<$name>,)+) {
            #[expect(non_snake_case, reason = "one binding a type parameter")]
            async fn synced(&self) {
                let ($($name,)+) = self;
                $($name.synced().await;)+
            }
        }
    };
}
mirrors!(A B);
mirrors!(A B C);
mirrors!(A B C D);

impl Spawner {
    pub fn new(
        clients: impl Fn(&str) -> kube::Client + Send + Sync + 'static,
        reflectors: Reflectors,
        shutdown: CancellationToken,
    ) -> Self {
        Self { clients: Box::new(clients), reflectors, shutdown, tasks: TaskTracker::new() }
    }

    /// A client that acts as the controller `name` (`system:serviceaccount:kube-system:NAME`).
    pub(crate) fn client(&self, name: &str) -> kube::Client {
        (self.clients)(name)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// A task that ends itself at shutdown, after finishing its work.
    pub(crate) fn spawn_to_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Calls `f` with every change of a kind, beginning with what there is.
    pub(crate) fn follow<K: HasMeta>(&self, mirror: &Reflector<K>, f: impl Fn(&Change<K>) + Send + 'static) {
        let mut changes = mirror.subscribe();
        self.spawn(async move {
            while let Some(batch) = changes.next_batch().await {
                for change in &batch {
                    f(change);
                }
            }
        });
    }

    /// Works on the queue's keys once all of `mirrors` are true. Work under way at shutdown is finished.
    pub(crate) fn work<K, M, F, Fut>(&self, queue: Arc<Queue<K>>, workers: usize, mirrors: M, reconcile: F)
    where
        K: Hash + Eq + Clone + Debug + Send + Sync + 'static,
        M: Mirrors,
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = mirrors.synced() => {}
            }
            queue.run(workers, shutdown, reconcile).await;
        });
    }

    /// Returns when everything has ended.
    pub(crate) async fn ended(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
