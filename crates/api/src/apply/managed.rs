//! `metadata.managedFields`: who owns which fields (apimachinery `util/managedfields/internal/managedfields.go`).
//!
//! An entry's set stays the JSON it was until somebody must look into it: most writes touch one entry of several.
use super::codec::{self, CodecError};
use super::element::Element;
use super::set::FieldSet;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Entries of one object. Kubernetes knows no limit; entries are compared with each other, and a request of 3 MB could hold 30,000.
const MAX_ENTRIES: usize = 1_000;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Which entry: appliers keep theirs across API versions, updaters have one for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManagerId {
    pub manager: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

#[derive(Clone, Debug)]
enum Fields {
    /// As it is stored; names written as [`Element::encode`] writes them.
    Raw(Value),
    Set(FieldSet),
}

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: ManagerId,
    pub api_version: String,
    /// RFC 3339 in seconds.
    pub time: Option<String>,
    fields: Fields,
}

impl Entry {
    pub fn new(id: ManagerId, api_version: &str, set: FieldSet) -> Self {
        Self { id, api_version: api_version.to_owned(), time: None, fields: Fields::Set(set) }
    }

    /// The fields, read now if they were not before. What was read at the door reads again.
    pub fn set(&mut self) -> &FieldSet {
        if let Fields::Raw(raw) = &self.fields {
            self.fields = Fields::Set(codec::decode(raw).unwrap_or_default());
        }
        match &self.fields {
            Fields::Set(set) => set,
            Fields::Raw(_) => EMPTY,
        }
    }

    pub fn replace(&mut self, set: FieldSet) {
        self.fields = Fields::Set(set);
    }

    fn is_empty(&self) -> bool {
        match &self.fields {
            Fields::Raw(raw) => raw.as_object().is_none_or(Map::is_empty),
            Fields::Set(set) => set.is_empty(),
        }
    }

    /// Whether the entry may have a member in common with `set`, without reading all of it.
    pub fn touches(&self, set: &FieldSet) -> bool {
        match &self.fields {
            Fields::Raw(raw) => raw.as_object().is_some_and(|raw| raw_touches(raw, set)),
            Fields::Set(own) => own.intersects(set),
        }
    }

    /// Whether all of `set` is the entry's already.
    pub fn covers(&self, set: &FieldSet) -> bool {
        match &self.fields {
            Fields::Raw(raw) => raw.as_object().is_some_and(|raw| raw_covers(raw, set)),
            Fields::Set(own) => set.difference(own).is_empty(),
        }
    }

    fn encode(self) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: String| {
            if !value.is_empty() {
                out.insert(name.to_owned(), Value::String(value));
            }
        };
        put("manager", self.id.manager);
        put("operation", self.id.operation.text().to_owned());
        put("apiVersion", self.api_version);
        put("time", self.time.unwrap_or_default());
        put("fieldsType", "FieldsV1".to_owned());
        put("subresource", self.id.subresource);
        let fields = match self.fields {
            Fields::Raw(raw) => raw,
            Fields::Set(set) => codec::encode(&set),
        };
        out.insert("fieldsV1".to_owned(), fields);
        Value::Object(out)
    }
}

static EMPTY: &FieldSet = &FieldSet { members: Vec::new(), children: Vec::new() };

fn raw_covers(raw: &Map<String, Value>, set: &FieldSet) -> bool {
    let below = |element: &Element| raw.get(&element.encode()).and_then(Value::as_object);
    set.members.iter().all(|member| below(member).is_some_and(|below| below.is_empty() || below.contains_key(".")))
        && set.children.iter().all(|(element, child)| below(element).is_some_and(|below| raw_covers(below, child)))
}

fn raw_touches(raw: &Map<String, Value>, set: &FieldSet) -> bool {
    let below = |element: &Element| raw.get(&element.encode()).and_then(Value::as_object);
    set.members.iter().any(|member| below(member).is_some_and(|below| below.is_empty() || below.contains_key(".")))
        || set.children.iter().any(|(element, child)| below(element).is_some_and(|below| raw_touches(below, child)))
}

/// What is wrong with `metadata.managedFields`.
#[derive(Debug, thiserror::Error)]
pub enum ManagedFieldsError {
    #[error("managedFields must be a list of objects")]
    NotAList,
    #[error("more than {MAX_ENTRIES} managed fields entries: {0}")]
    TooMany(usize),
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing fieldsType in managed fields entry {0}")]
    MissingFieldsType(usize),
    #[error("invalid fieldsType {0:?} in managed fields entry {1}")]
    FieldsType(String, usize),
    #[error("error decoding versioned set from entry {index}: {source}")]
    Set {
        index: usize,
        #[source]
        source: CodecError,
    },
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub struct Managed {
    pub entries: Vec<Entry>,
}

/// Whether the sets in a list may be taken as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They come from the store: we wrote them.
    Stored,
    /// They come with a request: read them all, now.
    Sent,
}

impl Managed {
    /// Reads `metadata.managedFields` (absent or null: no entries).
    pub fn decode(list: Option<Value>, trust: Trust) -> Result<Self, ManagedFieldsError> {
        let items = match list {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(ManagedFieldsError::NotAList),
        };
        if items.len() > MAX_ENTRIES {
            return Err(ManagedFieldsError::TooMany(items.len()));
        }
        let mut out = Self { entries: Vec::with_capacity(items.len()) };
        for (index, item) in items.into_iter().enumerate() {
            let entry = decode_entry(index, item, trust)?;
            match out.position(&entry.id) {
                // The last one of the same manager counts.
                Some(place) => out.entries[place] = entry,
                None => out.entries.push(entry),
            }
        }
        Ok(out)
    }

    /// The list as it is stored, sorted; `None` when there is no entry.
    pub fn encode(mut self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.sort_by(order);
        Some(Value::Array(self.entries.into_iter().map(Entry::encode).collect()))
    }

    pub fn position(&self, id: &ManagerId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == *id)
    }

    pub fn get_mut(&mut self, id: &ManagerId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == *id)
    }

    pub fn drop_empty(&mut self) {
        self.entries.retain(|entry| !entry.is_empty());
    }
}

fn decode_entry(index: usize, item: Value, trust: Trust) -> Result<Entry, ManagedFieldsError> {
    let Value::Object(mut map) = item else { return Err(ManagedFieldsError::NotAList) };
    let mut text = |name: &str| match map.remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err(ManagedFieldsError::Operation),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err(ManagedFieldsError::ApiVersion);
    }
    match text("fieldsType").as_str() {
        "FieldsV1" => {}
        "" => return Err(ManagedFieldsError::MissingFieldsType(index)),
        other => return Err(ManagedFieldsError::FieldsType(other.to_owned(), index)),
    }
    let (manager, subresource, time) = (text("manager"), text("subresource"), text("time"));
    let raw = map.remove("fieldsV1").filter(|raw| !raw.is_null()).unwrap_or_else(|| Value::Object(Map::new()));
    let fields = match trust {
        Trust::Stored => Fields::Raw(raw),
        Trust::Sent => Fields::Set(codec::decode(&raw).map_err(|source| ManagedFieldsError::Set { index, source })?),
    };
    Ok(Entry {
        id: ManagerId {
            manager,
            operation,
            api_version: if operation == Operation::Apply { String::new() } else { api_version.clone() },
            subresource,
        },
        api_version,
        time: Some(time).filter(|time| !time.is_empty()),
        fields,
    })
}

/// Appliers first, then the older entry, then by name.
fn order(a: &Entry, b: &Entry) -> Ordering {
    (a.id.operation.cmp(&b.id.operation))
        .then_with(|| a.seconds().cmp(&b.seconds()))
        .then_with(|| a.id.manager.cmp(&b.id.manager))
        .then_with(|| a.api_version.cmp(&b.api_version))
        .then_with(|| a.id.subresource.cmp(&b.id.subresource))
}

impl Entry {
    /// When, in Unix seconds; 0 for an entry without time.
    pub fn seconds(&self) -> i64 {
        let parsed = self.time.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        parsed.map_or(0, |time| time.as_second())
    }
}

/// The time of an entry written now.
pub fn time_text(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether a client asks to forget all managers: an empty list, or one empty entry.
pub fn is_reset(list: Option<&Value>) -> bool {
    match list {
        Some(Value::Array(items)) => match items.as_slice() {
            [] => true,
            [one] => one.as_object().is_some_and(|one| one.values().all(Value::is_null)),
            _ => false,
        },
        _ => false,
    }
}
