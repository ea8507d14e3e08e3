//! `wait`: until objects are as they shall be, exist, or are gone (`kubectl/pkg/cmd/wait`).
use crate::connect::{Session, with_query};
use crate::duration;
use crate::error::{CliError, Result};
use crate::jsonpath::Template;
use crate::manifest::{self, Files};
use crate::output::Output;
use crate::resource::{Resource, Resources};
use crate::target::{self, Named, Selection, Target};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http::Request;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME… or TYPE/NAME….
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: Output,
    /// Every object of the type.
    #[arg(long)]
    all: bool,
    /// What to wait for: create, delete, condition=NAME[=VALUE], jsonpath='{EXPRESSION}'[=VALUE]. Several: one after the other.
    #[arg(long = "for", value_name = "WHAT", allow_hyphen_values = true)]
    goals: Vec<String>,
    /// Give up after this long. 0 looks once, less than 0 waits a week.
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
}

/// What is waited for.
#[derive(Debug, PartialEq)]
enum Goal {
    Create,
    Delete,
    Condition { name: String, value: String },
    Path { path: Template, value: Option<String> },
}

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl Goal {
    fn parse(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("delete") {
            return Ok(Self::Delete);
        }
        if text.eq_ignore_ascii_case("create") {
            return Ok(Self::Create);
        }
        if let Some(condition) = text.strip_prefix("condition=") {
            let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
            return Ok(Self::Condition { name: name.to_owned(), value: value.to_owned() });
        }
        let Some(expression) = text.strip_prefix("jsonpath=") else {
            return Err(CliError::usage(format!("unrecognized condition: {text:?}")));
        };
        let (path, value) = match split(expression).as_slice() {
            [path] => (path.clone(), None),
            [path, value] => (path.clone(), Some(value.trim_matches(['\'', '"']).to_owned())),
            _ => {
                return Err(CliError::usage(
                    "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or --for=jsonpath='{.status.readyReplicas}'",
                ));
            }
        };
        if value.as_deref() == Some("") {
            return Err(CliError::usage(
                "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3",
            ));
        }
        if path.is_empty() {
            return Err(CliError::usage("jsonpath expression cannot be empty"));
        }
        let path = Template::parse(&path).map_err(|e| CliError::usage(e.to_string()))?;
        Ok(Self::Path { path, value })
    }

    /// Whether an object is as it shall be.
    fn is_met(&self, object: &Value) -> Result<bool> {
        match self {
            Self::Create => Ok(true),
            Self::Delete => Ok(false),
            Self::Condition { name, value } => Ok(has_condition(object, name, value)),
            Self::Path { path, value } => {
                // What is not there yet may come.
                let found = path.values(object).unwrap_or_default();
                let [one] = found.as_slice() else {
                    return if found.is_empty() {
                        Ok(false)
                    } else {
                        Err(CliError::usage("given jsonpath expression matches more than one value"))
                    };
                };
                let Some(wanted) = value else { return Ok(true) };
                let text = match one {
                    Value::Object(_) | Value::Array(_) => {
                        return Err(CliError::usage(
                            "jsonpath leads to a nested object or list which is not supported",
                        ));
                    }
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                Ok(text.trim() == wanted.trim())
            }
        }
    }
}

/// Parts between single `=`; `==` belongs to an expression.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '=' {
            part.push(c);
        } else if rest.next_if_eq(&'=').is_some() {
            part.push_str("==");
        } else {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts
}

/// A condition that was observed for an older generation does not count.
fn has_condition(object: &Value, name: &str, value: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_lowercase();
    let mut named = conditions.filter(|c| text(&c["type"]) == name.to_lowercase() && c["status"].is_string());
    named.next().is_some_and(|condition| {
        let observed = condition["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
        let current = object["metadata"]["generation"].as_i64();
        let is_stale = observed.zip(current).is_some_and(|(observed, current)| observed < current);
        !is_stale && text(&condition["status"]) == value.to_lowercase()
    })
}

/// In the order in which they are waited for: creation always first.
fn goals(texts: &[String]) -> Result<Vec<Goal>> {
    if texts.is_empty() {
        return Err(CliError::usage("unrecognized condition: []"));
    }
    let mut goals: Vec<Goal> = texts.iter().map(|text| Goal::parse(text)).collect::<Result<_>>()?;
    goals.sort_by_key(|goal| *goal != Goal::Create);
    Ok(goals)
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let goals = goals(&args.goals)?;
    let limit = limit(&args.timeout)?;
    let until = Instant::now() + limit;
    if args.words.is_empty() && args.files.is_empty() {
        return Err(CliError::usage("You must provide one or more resources by argument or filename."));
    }
    let (targets, mut errors) = find(args, session, &goals).await?;
    if targets.is_empty() && errors.is_empty() {
        let is_gone = goals.contains(&Goal::Delete);
        return if is_gone { Ok(()) } else { Err(CliError::usage("no matching resources found")) };
    }
    for target in targets {
        match reach_all(session, &goals, &target, (!limit.is_zero()).then_some(until)).await {
            Ok(object) => args.output.result(&target.label(), "condition met", &object)?,
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

async fn reach_all(session: &Session, goals: &[Goal], target: &Target, until: Option<Instant>) -> Result<Value> {
    let mut object = target.object.clone();
    for goal in goals {
        object = reach(session, goal, target, until).await?;
    }
    Ok(object)
}

fn limit(text: &str) -> Result<Duration> {
    if let Some(rest) = text.strip_prefix('-')
        && duration::parse(rest).is_some()
    {
        return Ok(WEEK);
    }
    let limit = duration::parse(text);
    limit.map(|l| l.min(WEEK)).ok_or_else(|| {
        CliError::usage(format!("invalid argument {text:?} for \"--timeout\" flag: time: invalid duration {text:?}"))
    })
}

/// What is waited for. Objects that shall come need not be there yet, objects that shall go need not be there any more.
async fn find(args: &Args, session: &Session, goals: &[Goal]) -> Result<(Vec<Target>, Vec<CliError>)> {
    if goals.contains(&Goal::Create) {
        return named(args, session).await.map(|targets| (targets, Vec::new()));
    }
    let (targets, mut errors) = target::fetch(session, &args.words, &args.selection, &args.files, args.all).await?;
    if goals.contains(&Goal::Delete) {
        errors.retain(|e| !e.is_not_found());
    }
    Ok((targets, errors))
}

/// Objects by name alone, whether they are there or not.
async fn named(args: &Args, session: &Session) -> Result<Vec<Target>> {
    let resources = Resources::new(session);
    if !args.files.is_empty() {
        let mut targets = Vec::new();
        for object in manifest::read(&args.files)? {
            targets.push(manifest::target(&object, session, &resources).await?);
        }
        return Ok(targets);
    }
    let target = |(resource, name): (Resource, String)| Target {
        resource,
        name,
        namespace: session.namespace.clone(),
        object: Value::Null,
    };
    match target::parse(&args.words, &resources).await? {
        Named::Objects(objects) => Ok(objects.into_iter().map(target).collect()),
        Named::Types(types) => {
            let mut targets = Vec::new();
            for resource in types {
                targets.extend(target::list(session, &resource, &args.selection).await?);
            }
            Ok(targets)
        }
    }
}

/// Waits for one object. `until` is `None` when it is looked at once only.
async fn reach(session: &Session, goal: &Goal, target: &Target, until: Option<Instant>) -> Result<Value> {
    let Some(until) = until else {
        let now = match session.get(&target.path()).await {
            Err(error) if error.is_not_found() && *goal == Goal::Delete => return Ok(target.object.clone()),
            other => other?,
        };
        return if goal.is_met(&now)? {
            Ok(now)
        } else {
            Err(CliError::usage(format!("condition not met for {}/{}", target.resource.plural, target.name)))
        };
    };
    match tokio::time::timeout_at(until, follow(session, goal, target)).await {
        Ok(done) => done,
        Err(_) if *goal == Goal::Create => Err(CliError::usage("timed out waiting for the condition")),
        Err(_) => Err(CliError::usage(format!(
            "timed out waiting for the condition on {}/{}",
            target.resource.plural, target.name
        ))),
    }
}

/// From list to watch, and again when a watch ends.
async fn follow(session: &Session, goal: &Goal, target: &Target) -> Result<Value> {
    let name = format!("metadata.name={}", target.name);
    let base = target.resource.collection(Some(&target.namespace));
    loop {
        let list = session.get(&with_query(&base, &[("fieldSelector", &name)])).await?;
        match list["items"].as_array().and_then(|items| items.first()) {
            Some(found) => {
                let was = &target.object["metadata"]["uid"];
                if *goal == Goal::Delete && was.is_string() && found["metadata"]["uid"] != *was {
                    return Ok(target.object.clone());
                }
                let mut found = found.clone();
                found["apiVersion"] = target.resource.api_version().into();
                found["kind"] = target.resource.kind.clone().into();
                if goal.is_met(&found)? {
                    return Ok(found);
                }
            }
            None => match goal {
                Goal::Delete => return Ok(target.object.clone()),
                Goal::Create => {}
                Goal::Condition { .. } | Goal::Path { .. } => {
                    let gone = format!("{} {:?} not found", target.resource.qualified(), target.name);
                    return Err(CliError::Status {
                        code: 404,
                        reason: "NotFound".into(),
                        message: gone,
                        details: Value::Null,
                    });
                }
            },
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let query = [("fieldSelector", name.as_str()), ("watch", "true"), ("resourceVersion", version)];
        if let Some(done) = watched(session, goal, target, &with_query(&base, &query)).await? {
            return Ok(done);
        }
    }
}

/// `None`: the watch has ended, or has to begin anew.
async fn watched(session: &Session, goal: &Goal, target: &Target, path: &str) -> Result<Option<Value>> {
    let request = Request::get(path)
        .header(http::header::ACCEPT, crate::connect::JSON)
        .body(Vec::new())
        .map_err(|e| CliError::usage(e.to_string()))?;
    let stream = session.client.request_stream(request).await.map_err(|e| CliError::of(e, &session.host))?;
    let mut lines = Box::pin(stream.lines());
    while let Some(Ok(line)) = lines.next().await {
        let event: Value = serde_json::from_str(&line)?;
        match event["type"].as_str() {
            Some("DELETED") if *goal == Goal::Delete => return Ok(Some(target.object.clone())),
            Some("ADDED" | "MODIFIED") if goal.is_met(&event["object"])? => return Ok(Some(event["object"].clone())),
            Some("DELETED" | "ERROR") => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_can_be_waited_for() {
        let condition = |name: &str, value: &str| Goal::Condition { name: name.into(), value: value.into() };
        let path = |path: &str, value: Option<&str>| Goal::Path {
            path: Template::parse(path).unwrap(),
            value: value.map(Into::into),
        };
        let good = [
            ("delete", Goal::Delete),
            ("Create", Goal::Create),
            ("condition=Ready", condition("Ready", "true")),
            ("condition=Ready=False", condition("Ready", "False")),
            ("jsonpath={.status.phase}=Running", path("{.status.phase}", Some("Running"))),
            ("jsonpath=.status.phase='Running'", path("{.status.phase}", Some("Running"))),
            ("jsonpath={.a[?(@.b==\"c\")].d}=e", path("{.a[?(@.b==\"c\")].d}", Some("e"))),
            ("jsonpath={.status.podIP}", path("{.status.podIP}", None)),
        ];
        for (text, goal) in good {
            assert_eq!(Goal::parse(text).unwrap(), goal, "{text}");
        }
        let bad = [
            ("", "error: unrecognized condition: \"\""),
            ("available", "error: unrecognized condition: \"available\""),
            ("jsonpath=", "error: jsonpath expression cannot be empty"),
            (
                "jsonpath={.a}=",
                "error: jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3",
            ),
            (
                "jsonpath={.a}=b=c",
                "error: jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or --for=jsonpath='{.status.readyReplicas}'",
            ),
        ];
        for (text, message) in bad {
            assert_eq!(Goal::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn creation_comes_first() {
        let texts = ["condition=Ready", "create"].map(str::to_owned);
        assert_eq!(goals(&texts).unwrap().first(), Some(&Goal::Create));
        assert_eq!(goals(&[]).unwrap_err().to_string(), "error: unrecognized condition: []");
    }

    #[test]
    fn whether_it_is_met() {
        let object = json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 3, "phase": "Running", "n": 3, "ips": ["a", "b"],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 2}, {"type": "Off", "status": "False"}]}});
        let cases = [
            ("condition=Ready", Some(true)),
            ("condition=ready=TRUE", Some(true)),
            ("condition=Ready=false", Some(false)),
            ("condition=Off=false", Some(true)),
            ("condition=Old", Some(false)),
            ("condition=None", Some(false)),
            ("jsonpath=.status.phase=Running", Some(true)),
            ("jsonpath=.status.n=3", Some(true)),
            ("jsonpath=.status.n=4", Some(false)),
            ("jsonpath=.status.none", Some(false)),
            ("jsonpath=.status.ips", Some(true)),
            ("jsonpath=.status.ips=a", None),
            ("jsonpath=.status.ips[*]=a", None),
            ("create", Some(true)),
            ("delete", Some(false)),
        ];
        for (goal, met) in cases {
            assert_eq!(Goal::parse(goal).unwrap().is_met(&object).ok(), met, "{goal}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(limit("0").unwrap(), Duration::ZERO);
        assert_eq!(limit("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(limit("-1s").unwrap(), WEEK);
        assert!(limit("soon").is_err());
    }
}
