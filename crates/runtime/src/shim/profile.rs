//! Seccomp profiles from files (`Localhost`), in the form of Docker and the OCI runtime spec (`config-linux.md`, "Seccomp"), made
//! into filters of the kernel.
//!
//! A profile gives each system call an action; a filter of `seccompiler` has one action besides its default. So a profile becomes
//! several filters, and the kernel takes the strictest answer of them all (`seccomp(2)`): one filter says the default for whatever
//! is not mentioned, and one for each other action says it for what the profile mentions.
use crate::{Result, RuntimeError};
use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Larger than any profile by far; a device or a log would not end.
const MOST_BYTES: u64 = 1 << 20;
/// What `clone3` and others answer when a profile names no error number.
const EPERM: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    names: Vec<String>,
    /// Docker's older form.
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Docker's: an entry counts only on some machines, or for some rights.
#[derive(Debug, Default, Deserialize)]
struct Condition {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

/// Rules of one action: by system call, what its arguments have to be. One without conditions is always meant.
type Rules = BTreeMap<String, Vec<Vec<Value>>>;

/// The filters of the profile in a file, in the order to install them in.
pub fn load(path: &Path, capabilities: &BTreeSet<&'static str>, architecture: TargetArch) -> Result<Vec<BpfProgram>> {
    let wrong = |why: &dyn std::fmt::Display| RuntimeError::Invalid {
        field: "seccomp".into(),
        message: format!("cannot load seccomp profile {:?}: {why}", path.display().to_string()),
    };
    let length = std::fs::metadata(path).map_err(|error| wrong(&error))?.len();
    if length > MOST_BYTES {
        return Err(wrong(&format!("it has {length} bytes, at most {MOST_BYTES} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    compile(&text, capabilities, architecture).map_err(|error| wrong(&error))
}

fn compile(
    text: &str,
    capabilities: &BTreeSet<&'static str>,
    architecture: TargetArch,
) -> std::result::Result<Vec<BpfProgram>, String> {
    let profile: Profile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut mentioned = Rules::new();
    let mut by_action: BTreeMap<String, (Value, Rules)> = BTreeMap::new();
    for entry in profile.syscalls.iter().filter(|entry| counts(entry, capabilities)) {
        let said = action(&entry.action, entry.errno_ret)?;
        if said == default {
            continue;
        }
        let arguments = entry.args.iter().flatten().map(argument).collect::<std::result::Result<Vec<_>, _>>()?;
        let (_, rules) = by_action.entry(said.to_string()).or_insert_with(|| (said, Rules::new()));
        for name in entry.names.iter().chain(&entry.name) {
            for rules in [&mut *rules, &mut mentioned] {
                rules.entry(name.clone()).or_default().push(arguments.clone());
            }
        }
    }
    let allow = json!("allow");
    let mut filters = Vec::new();
    for (said, rules) in by_action.into_values().filter(|(said, _)| *said != allow) {
        filters.push(filter(&allow, &said, &rules, architecture)?);
    }
    // Last: it may refuse to install another.
    if default != allow {
        filters.push(filter(&default, &allow, &mentioned, architecture)?);
    }
    Ok(filters)
}

/// Whether the entry is meant for this container on this machine.
fn counts(entry: &Entry, capabilities: &BTreeSet<&'static str>) -> bool {
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let has = |name: &String| capabilities.contains(name.as_str());
    let is_here = |name: &String| name == here;
    let included = entry
        .includes
        .as_ref()
        .is_none_or(|c| (c.arches.is_empty() || c.arches.iter().any(is_here)) && c.caps.iter().all(has));
    let excluded = entry.excludes.as_ref().is_some_and(|c| c.arches.iter().any(is_here) || c.caps.iter().any(has));
    included && !excluded
}

fn action(name: &str, errno: Option<u32>) -> std::result::Result<Value, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => json!("allow"),
        "SCMP_ACT_ERRNO" => json!({"errno": errno.unwrap_or(EPERM)}),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => json!("kill_thread"),
        "SCMP_ACT_KILL_PROCESS" => json!("kill_process"),
        "SCMP_ACT_TRAP" => json!("trap"),
        "SCMP_ACT_TRACE" => json!({"trace": errno.unwrap_or(EPERM)}),
        "SCMP_ACT_LOG" => json!("log"),
        other => return Err(format!("action {other:?} is not supported")),
    })
}

fn argument(argument: &Argument) -> std::result::Result<Value, String> {
    let (op, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (json!("eq"), argument.value),
        "SCMP_CMP_NE" => (json!("ne"), argument.value),
        "SCMP_CMP_LT" => (json!("lt"), argument.value),
        "SCMP_CMP_LE" => (json!("le"), argument.value),
        "SCMP_CMP_GT" => (json!("gt"), argument.value),
        "SCMP_CMP_GE" => (json!("ge"), argument.value),
        "SCMP_CMP_MASKED_EQ" => (json!({"masked_eq": argument.value}), argument.value_two),
        other => return Err(format!("comparison {other:?} is not known")),
    };
    Ok(json!({"index": argument.index, "type": "qword", "op": op, "val": value}))
}

fn filter(
    otherwise: &Value,
    said: &Value,
    rules: &Rules,
    architecture: TargetArch,
) -> std::result::Result<BpfProgram, String> {
    let compiled = |rules: &[Value]| {
        let text = json!({"filter": {"mismatch_action": otherwise, "match_action": said, "filter": rules}}).to_string();
        compile_from_json(text.as_bytes(), architecture).map_err(|error| error.to_string())
    };
    let of = |(name, all): (&String, &Vec<Vec<Value>>)| {
        if all.iter().any(Vec::is_empty) {
            return vec![json!({"syscall": name})];
        }
        all.iter().map(|arguments| json!({"syscall": name, "args": arguments})).collect()
    };
    let mut all: Vec<Value> = rules.iter().flat_map(of).collect();
    let mut map = compiled(&all);
    if map.is_err() {
        // As runc has it: names that this architecture does not know are passed over. Only if one of them was the reason.
        all.retain(|rule| compiled(&[json!({"syscall": rule.get("syscall")})]).is_ok());
        map = compiled(&all);
    }
    map?.remove("filter").ok_or_else(|| "it came to nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn architecture() -> TargetArch {
        TargetArch::try_from(std::env::consts::ARCH).unwrap()
    }

    fn count(profile: &Value, capabilities: &[&'static str]) -> std::result::Result<usize, String> {
        let filters = compile(&profile.to_string(), &capabilities.iter().copied().collect(), architecture())?;
        Ok(filters.len())
    }

    #[test]
    fn a_profile_is_one_filter_an_action() {
        let entry = |names: Value, action: &str| json!({"names": names, "action": action});
        let of = |default: &str, syscalls: Value| count(&json!({"defaultAction": default, "syscalls": syscalls}), &[]);
        assert_eq!(of("SCMP_ACT_ALLOW", json!([])), Ok(0));
        assert_eq!(of("SCMP_ACT_LOG", json!([])), Ok(1));
        assert_eq!(of("SCMP_ACT_ERRNO", json!([entry(json!(["read", "no_such_call"]), "SCMP_ACT_ALLOW")])), Ok(1));
        let three = json!([
            entry(json!(["read"]), "SCMP_ACT_ALLOW"),
            entry(json!(["chmod"]), "SCMP_ACT_KILL"),
            entry(json!(["mkdir"]), "SCMP_ACT_LOG")
        ]);
        assert_eq!(of("SCMP_ACT_ERRNO", three), Ok(3));
    }

    #[test]
    fn wrong_profiles_are_explained() {
        let syscall =
            |value: Value| count(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [value]}), &[]).unwrap_err();
        assert!(compile("{", &BTreeSet::new(), architecture()).unwrap_err().contains("EOF"));
        assert!(count(&json!({}), &[]).unwrap_err().contains("defaultAction"));
        let notify = syscall(json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"}));
        assert_eq!(notify, "action \"SCMP_ACT_NOTIFY\" is not supported");
        let bad = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_ODD"}]);
        let bad = syscall(json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": bad}));
        assert_eq!(bad, "comparison \"SCMP_CMP_ODD\" is not known");
        let missing = load(Path::new("/none/p.json"), &BTreeSet::new(), architecture()).unwrap_err().to_string();
        assert!(missing.contains("cannot load seccomp profile \"/none/p.json\": No such file"), "{missing}");
    }

    #[test]
    fn entries_count_where_they_are_meant() {
        let entry = |value: Value| serde_json::from_value::<Entry>(value).unwrap();
        let holds = |value: Value, capabilities: &[&'static str]| {
            let mut all = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
            all.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            counts(&entry(all), &capabilities.iter().copied().collect())
        };
        assert!(holds(json!({"includes": {}, "excludes": null}), &[]));
        assert!(!holds(json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}), &[]));
        assert!(holds(json!({"includes": {"caps": ["CAP_SYS_ADMIN"]}}), &["CAP_SYS_ADMIN"]));
        assert!(!holds(json!({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}), &["CAP_SYS_ADMIN"]));
        assert!(!holds(json!({"includes": {"arches": ["s390x"]}}), &[]));
    }
}
