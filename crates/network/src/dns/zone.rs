//! What cluster DNS knows: a plain value, changed one Service at a time.
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Everything that can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    namespaces: BTreeSet<String>,
    /// By namespace and name.
    services: BTreeMap<String, BTreeMap<String, Record>>,
    /// Names to give back for an address: cluster IPs, endpoints of headless Services, and those that have a name of their own.
    names: HashMap<IpAddr, BTreeSet<Owner>>,
}

/// Whose an address is. Cluster IPs come before endpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Of an endpoint.
    pub endpoint: Option<String>,
    pub service: String,
    pub namespace: String,
}

/// One Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Record {
    Cluster {
        addresses: Vec<IpAddr>,
        ports: Vec<Port>,
        /// Ready ones: each has a name below the Service's. (Absent in what an earlier version told.)
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        endpoints: Vec<Named>,
    },
    /// Ready endpoints only.
    Headless {
        endpoints: Vec<Endpoint>,
    },
    External {
        name: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Empty: it has none, and no SRV record by name.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    pub address: IpAddr,
    /// The pod's, if it asked for one; otherwise its name is made of its address.
    pub hostname: Option<String>,
    pub ports: Vec<Port>,
}

/// An endpoint without its ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Named {
    pub address: IpAddr,
    pub hostname: Option<String>,
}

impl Endpoint {
    pub fn label(&self) -> String {
        label(self.address, self.hostname.as_deref())
    }
}

impl Named {
    pub fn label(&self) -> String {
        label(self.address, self.hostname.as_deref())
    }
}

/// The label before its Service's name: the hostname, or `10-1-0-2`.
fn label(address: IpAddr, hostname: Option<&str>) -> String {
    hostname.map_or_else(|| address.to_string().replace(['.', ':'], "-"), str::to_owned)
}

/// One thing that is different now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "change")]
pub enum Change {
    /// None: it is gone.
    Service {
        namespace: String,
        name: String,
        record: Option<Record>,
    },
    Namespace {
        name: String,
        exists: bool,
    },
}

impl Zone {
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Namespace { name, exists: true } => {
                self.namespaces.insert(name);
            }
            Change::Namespace { name, exists: false } => {
                self.namespaces.remove(&name);
            }
            Change::Service { namespace, name, record } => self.set(&namespace, &name, record),
        }
    }

    fn set(&mut self, namespace: &str, name: &str, record: Option<Record>) {
        let services = self.services.entry(namespace.to_owned()).or_default();
        let before = match record.clone() {
            Some(record) => services.insert(name.to_owned(), record),
            None => services.remove(name),
        };
        if services.is_empty() {
            self.services.remove(namespace);
        }
        for (address, owner) in before.iter().flat_map(|r| owners(r, namespace, name)) {
            if let Some(names) = self.names.get_mut(&address) {
                names.remove(&owner);
                if names.is_empty() {
                    self.names.remove(&address);
                }
            }
        }
        for (address, owner) in record.iter().flat_map(|r| owners(r, namespace, name)) {
            self.names.entry(address).or_default().insert(owner);
        }
    }

    /// The addresses of a Service's endpoints that have this label.
    pub fn endpoints(&self, namespace: &str, service: &str, host: &str) -> Vec<IpAddr> {
        match self.get(namespace, service) {
            Some(Record::Cluster { endpoints, .. }) => {
                endpoints.iter().filter(|e| e.label() == host).map(|e| e.address).collect()
            }
            Some(Record::Headless { endpoints }) => {
                endpoints.iter().filter(|e| e.label() == host).map(|e| e.address).collect()
            }
            Some(Record::External { .. }) | None => Vec::new(),
        }
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Record> {
        self.services.get(namespace)?.get(name)
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name) || self.services.contains_key(name)
    }

    pub fn owners(&self, address: IpAddr) -> impl Iterator<Item = &Owner> {
        self.names.get(&address).into_iter().flatten()
    }

    /// The changes that make an empty zone this one.
    pub fn changes(&self) -> Vec<Change> {
        let namespaces = self.namespaces.iter().map(|n| Change::Namespace { name: n.clone(), exists: true });
        let services = self.services.iter().flat_map(|(namespace, services)| {
            services.iter().map(|(name, record)| Change::Service {
                namespace: namespace.clone(),
                name: name.clone(),
                record: Some(record.clone()),
            })
        });
        namespaces.chain(services).collect()
    }
}

fn owners(record: &Record, namespace: &str, service: &str) -> Vec<(IpAddr, Owner)> {
    let owner = |endpoint| Owner { endpoint, service: service.to_owned(), namespace: namespace.to_owned() };
    match record {
        Record::Cluster { addresses, endpoints, .. } => {
            let own = addresses.iter().map(|a| (*a, owner(None)));
            let named = endpoints.iter().filter(|e| e.hostname.is_some());
            own.chain(named.map(|e| (e.address, owner(Some(e.label()))))).collect()
        }
        Record::Headless { endpoints } => endpoints.iter().map(|e| (e.address, owner(Some(e.label())))).collect(),
        Record::External { .. } => Vec::new(),
    }
}
