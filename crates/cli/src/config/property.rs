//! `config set` and `config unset`: single values by a path such as `contexts.work.namespace`
//! (`kubectl/pkg/cmd/config/navigation_step_parser.go`).
use super::files::{Files, List};
use crate::error::{CliError, Result};
use base64::Engine as _;
use serde_json::{Value, json};

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Bool,
    Bytes,
    /// `a,b`
    Texts,
}

const FIELDS: [(List, &str, Type); 23] = [
    (List::Clusters, "server", Type::Text),
    (List::Clusters, "tls-server-name", Type::Text),
    (List::Clusters, "insecure-skip-tls-verify", Type::Bool),
    (List::Clusters, "certificate-authority", Type::Text),
    (List::Clusters, "certificate-authority-data", Type::Bytes),
    (List::Clusters, "proxy-url", Type::Text),
    (List::Clusters, "disable-compression", Type::Bool),
    (List::Contexts, "cluster", Type::Text),
    (List::Contexts, "user", Type::Text),
    (List::Contexts, "namespace", Type::Text),
    (List::Users, "client-certificate", Type::Text),
    (List::Users, "client-certificate-data", Type::Bytes),
    (List::Users, "client-key", Type::Text),
    (List::Users, "client-key-data", Type::Bytes),
    (List::Users, "token", Type::Text),
    (List::Users, "tokenFile", Type::Text),
    (List::Users, "as", Type::Text),
    (List::Users, "as-uid", Type::Text),
    (List::Users, "as-groups", Type::Texts),
    (List::Users, "username", Type::Text),
    (List::Users, "password", Type::Text),
    (List::Users, "exec", Type::Text),
    (List::Users, "auth-provider", Type::Text),
];

enum Place {
    Current,
    List(List),
    Entry(List, String),
    Field(List, String, &'static str, Type),
}

/// Names may have dots in them: a field's name is what stands last.
fn place(path: &str) -> Result<Place> {
    if path == "current-context" {
        return Ok(Place::Current);
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(list) = List::ALL.into_iter().find(|l| l.name() == first) else {
        return Err(CliError::usage(format!("unable to parse {path} after [] at api.Config")));
    };
    if rest.is_empty() {
        return Ok(Place::List(list));
    }
    for (_, field, kind) in FIELDS.iter().filter(|(of, ..)| *of == list) {
        if let Some(name) = rest.strip_suffix(field).and_then(|r| r.strip_suffix('.')).filter(|n| !n.is_empty()) {
            return Ok(Place::Field(list, name.to_owned(), field, *kind));
        }
    }
    Ok(Place::Entry(list, rest.to_owned()))
}

pub fn set(files: &mut Files, path: &str, value: &str, raw_bytes: bool) -> Result<()> {
    match place(path)? {
        Place::Current => files.set_current(value),
        Place::List(_) | Place::Entry(..) => {
            return Err(CliError::usage(format!(
                "{path:?} is no single value: only fields can be set, such as contexts.NAME.namespace"
            )));
        }
        Place::Field(_, _, field @ ("exec" | "auth-provider"), _) => {
            return Err(CliError::usage(format!("{field} is no single value: use config set-credentials")));
        }
        Place::Field(list, name, field, kind) => {
            let mut entry = files.get(list, &name).cloned().unwrap_or_else(|| json!({}));
            entry[field] = parse(value, kind, raw_bytes)?;
            files.put(list, &name, entry);
        }
    }
    Ok(())
}

fn parse(value: &str, kind: Type, raw_bytes: bool) -> Result<Value> {
    let standard = base64::engine::general_purpose::STANDARD;
    Ok(match kind {
        Type::Text => value.into(),
        Type::Texts => value.split(',').filter(|v| !v.is_empty()).collect::<Vec<_>>().into(),
        Type::Bool => match value {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => true.into(),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => false.into(),
            _ => return Err(CliError::usage(format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))),
        },
        Type::Bytes if raw_bytes => standard.encode(value).into(),
        Type::Bytes => {
            standard.decode(value).map_err(|e| {
                CliError::usage(format!("error decoding base64: {e}; --set-raw-bytes takes it as it is"))
            })?;
            value.into()
        }
    })
}

pub fn unset(files: &mut Files, path: &str) -> Result<()> {
    match place(path)? {
        Place::Current => files.set_current(""),
        Place::List(list) => files.clear(list),
        // What is not there is not there afterwards.
        Place::Entry(list, name) => drop(files.remove(list, &name)),
        Place::Field(list, name, field, _) => {
            let Some(mut entry) = files.get(list, &name).cloned() else {
                return Err(CliError::usage(format!("current map key `{name}` is invalid")));
            };
            if let Some(entry) = entry.as_object_mut() {
                entry.remove(field);
            }
            files.put(list, &name, entry);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_values() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = super::super::files::tests::files(dir.path(), &[None]);
        let sets = [
            ("current-context", "x"),
            ("clusters.a.example.org.server", "https://h"),
            ("clusters.a.example.org.insecure-skip-tls-verify", "true"),
            ("clusters.a.example.org.certificate-authority-data", "YQ=="),
            ("contexts.x.namespace", "n"),
            ("users.u.as-groups", "a,b"),
        ];
        for (path, value) in sets {
            set(&mut files, path, value, false).unwrap();
        }
        set(&mut files, "users.u.client-key-data", "raw", true).unwrap();
        assert_eq!(
            files.merged(),
            json!({"apiVersion": "v1", "kind": "Config", "current-context": "x",
                "clusters": [{"name": "a.example.org", "cluster": {"server": "https://h", "insecure-skip-tls-verify": true, "certificate-authority-data": "YQ=="}}],
                "contexts": [{"name": "x", "context": {"namespace": "n"}}],
                "users": [{"name": "u", "user": {"as-groups": ["a", "b"], "client-key-data": "cmF3"}}]})
        );
        for path in ["users.u.as-groups", "contexts.x", "clusters", "current-context"] {
            unset(&mut files, path).unwrap();
        }
        assert_eq!(
            files.merged(),
            json!({"apiVersion": "v1", "kind": "Config", "current-context": "", "clusters": null, "contexts": null,
                "users": [{"name": "u", "user": {"client-key-data": "cmF3"}}]})
        );
        let refused = [
            ("nonsense.a", "x"),
            ("clusters.a", "x"),
            ("clusters.a.insecure-skip-tls-verify", "maybe"),
            ("users.u.client-key-data", "%"),
        ];
        for (path, value) in refused {
            assert!(set(&mut files, path, value, false).is_err(), "{path}");
        }
        assert!(unset(&mut files, "contexts.none.user").is_err());
    }
}
