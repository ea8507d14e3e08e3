//! Which controller comes next: made of the old one with another image, from a file, or the one that an update has begun with.
use super::Args;
use super::controllers::{Controllers, NEXT, annotation, name, replicas};
use crate::dry_run::Mode;
use crate::error::{CliError, Result};
use crate::manifest;
use crate::output;
use crate::resource::Resources;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The old controller, made ready to be told from the new one, and the new one.
pub async fn choose(args: &Args, controllers: &Controllers<'_>, old: Value, mode: Mode) -> Result<(Value, Value)> {
    let next = args.names.get(1).cloned().or_else(|| annotation(&old, NEXT).map(str::to_owned)).unwrap_or_default();
    let known = controllers.find(&next).await?;
    let (old, new, origin) = if args.rollback {
        if next.is_empty() {
            return Err(CliError::usage(format!("no rolling update of {} is under way", name(&old))));
        }
        let new = known.ok_or_else(|| CliError::usage(format!("Could not find {next} to rollback.")))?;
        (old, new, "the controller")
    } else if args.image.is_empty() {
        let new = from_file(args, controllers, &old).await?;
        (old, new, args.files.filename.first().map_or("the file", String::as_str))
    } else {
        let new = match known {
            Some(known) => resumed(args, known)?,
            None => with_image(args, &old, &next)?,
        };
        let old = if mode == Mode::Real {
            let value = format!("{}-orig", hash(&old));
            controllers.distinguish(&old, name(&new), &args.deployment_label_key, &value).await?
        } else {
            old
        };
        (old, new, "the controller")
    };
    if name(&old) == name(&new) {
        return Err(CliError::usage(format!(
            "{origin} cannot have the same name as the existing ReplicationController {}",
            name(&old)
        )));
    }
    // In a dry run the old one has not got its label yet.
    let will_differ = mode != Mode::Real && !args.image.is_empty();
    if !will_differ && !differ(&old["spec"]["selector"], &new["spec"]["selector"]) {
        return Err(CliError::usage(format!(
            "{origin} must specify a matching key with non-equal value in Selector for {}",
            name(&old)
        )));
    }
    Ok((old, new))
}

/// No pod may belong to both.
fn differ(old: &Value, new: &Value) -> bool {
    let pairs = old.as_object().into_iter().flatten();
    pairs.into_iter().any(|(key, value)| !new[key].is_null() && new[key] != *value)
}

fn hash(object: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    object.to_string().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The container that gets the image.
fn container(args: &Args, rc: &Value) -> Result<usize> {
    let containers = rc["spec"]["template"]["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    match (args.container.as_str(), containers) {
        (_, []) => Err(CliError::usage("pod has no containers!")),
        ("", [_]) => Ok(0),
        ("", _) => Err(CliError::usage("must specify container to update when updating a multi-container pod")),
        (wanted, all) => all
            .iter()
            .position(|c| c["name"] == wanted)
            .ok_or_else(|| CliError::usage(format!("container {wanted} not found in pod"))),
    }
}

fn resumed(args: &Args, known: Value) -> Result<Value> {
    let at = container(args, &known)?;
    let image = known["spec"]["template"]["spec"]["containers"][at]["image"].as_str().unwrap_or_default();
    if image != args.image {
        return Err(CliError::usage(format!(
            "Found existing in-progress update to image ({image}).\nEither continue in-progress update with --image={image} or rollback with --rollback"
        )));
    }
    output::say(&format!("Found existing update in progress ({}), resuming.", name(&known)))?;
    Ok(known)
}

/// `CreateNewControllerFromCurrentController`
fn with_image(args: &Args, old: &Value, next: &str) -> Result<Value> {
    let at = container(args, old)?;
    let mut new = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {}, "spec": old["spec"]});
    if let Some(labels) = old["metadata"]["labels"].as_object() {
        new["metadata"]["labels"] = labels.clone().into();
    }
    let container = &mut new["spec"]["template"]["spec"]["containers"][at];
    if container["image"] == args.image.as_str() {
        if args.image_pull_policy.is_empty() {
            return Err(CliError::usage(
                "--image-pull-policy (Always|Never|IfNotPresent) must be provided when --image is the same as existing container image",
            ));
        }
        container["imagePullPolicy"] = args.image_pull_policy.clone().into();
    }
    container["image"] = args.image.clone().into();
    // The version of the old one is part of it, so that the same update made twice has two names.
    let hash = hash(&json!([new, old["metadata"]["resourceVersion"]]));
    new["metadata"]["name"] = if next.is_empty() { format!("{}-{hash}", name(old)) } else { next.to_owned() }.into();
    let key = &args.deployment_label_key;
    new["spec"]["selector"][key] = hash.clone().into();
    new["spec"]["template"]["metadata"]["labels"][key] = hash.into();
    Ok(new)
}

async fn from_file(args: &Args, controllers: &Controllers<'_>, old: &Value) -> Result<Value> {
    let file = args.files.filename.first().map(String::as_str).unwrap_or_default();
    let objects = manifest::read(&args.files)?;
    let [object] = objects.as_slice() else {
        return Err(CliError::usage(if objects.is_empty() {
            format!("please make sure {file} exists and is not empty")
        } else {
            format!("{file} specifies multiple items")
        }));
    };
    if object["kind"] != "ReplicationController" || object["apiVersion"] != "v1" {
        let (api, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        return Err(CliError::usage(format!("{file} contains a {api}, Kind={kind} not a ReplicationController")));
    }
    manifest::target(object, controllers.session, &Resources::new(controllers.session)).await?;
    let mut new = object.clone();
    if new["spec"]["selector"].is_null() {
        new["spec"]["selector"] = new["spec"]["template"]["metadata"]["labels"].clone();
    }
    if new["spec"]["replicas"].is_null() {
        new["spec"]["replicas"] = replicas(old).into();
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap().args
    }

    fn rc(containers: Value) -> Value {
        json!({"metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"app": "web"}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}}})
    }

    #[test]
    fn a_new_controller_differs_in_image_name_and_label() {
        let old = rc(json!([{"name": "c", "image": "i:1"}]));
        let new = with_image(&args("web --image=i:2"), &old, "").unwrap();
        let hash = new["spec"]["selector"]["deployment"].as_str().unwrap().to_owned();
        assert_eq!(name(&new), format!("web-{hash}"));
        assert_eq!(new["spec"]["template"]["metadata"]["labels"], json!({"app": "web", "deployment": hash}));
        assert_eq!(new["spec"]["template"]["spec"]["containers"][0]["image"], "i:2");
        assert_eq!(new["metadata"].get("resourceVersion"), None);
        assert_eq!(name(&with_image(&args("web x --image=i:2"), &old, "x").unwrap()), "x");
        let keyed = with_image(&args("web --image=i:2 --deployment-label-key=k"), &old, "").unwrap();
        assert!(keyed["spec"]["selector"]["k"].is_string());
    }

    #[test]
    fn what_cannot_be() {
        let refused =
            |line: &str, containers: Value| with_image(&args(line), &rc(containers), "").unwrap_err().to_string();
        let two = || json!([{"name": "c", "image": "i:1"}, {"name": "d", "image": "j:1"}]);
        assert_eq!(
            refused("web --image=i:2", two()),
            "error: must specify container to update when updating a multi-container pod"
        );
        assert_eq!(refused("web --image=i:2 --container=x", two()), "error: container x not found in pod");
        assert!(refused("web --image=j:1 --container=d", two()).contains("--image-pull-policy"));
        let known = rc(json!([{"name": "c", "image": "i:2"}]));
        assert!(resumed(&args("web --image=i:3"), known).unwrap_err().to_string().contains("rollback with --rollback"));
        let wrong = [
            ("", "Must specify --filename or --image"),
            ("web --image=i -f x", "can not both be specified"),
            ("web --rollback --image=i", "Don't specify --filename or --image on rollback"),
            ("web -f a -f b", "single filename"),
            ("web --image=i --deployment-label-key=", "can not be empty"),
        ];
        for (line, message) in wrong {
            let error = super::super::check(&args(line)).unwrap_err().to_string();
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn selectors_must_differ_in_a_common_key() {
        let cases = [
            (json!({"a": "1"}), json!({"a": "2"}), true),
            (json!({"a": "1"}), json!({"a": "1", "b": "2"}), false),
            (json!({"a": "1"}), json!({"b": "2"}), false),
        ];
        for (old, new, expected) in cases {
            assert_eq!(differ(&old, &new), expected, "{old} {new}");
        }
    }
}
