//! What a command acts on: `TYPE NAME…`, `TYPE/NAME …`, `TYPE -l app=web`, `-f FILE`.
use crate::connect::{Session, with_query};
use crate::error::{CliError, Result};
use crate::manifest::{self, Files};
use crate::resource::{Resource, Resources};
use serde_json::Value;

/// The flags that choose objects.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selection {
    /// Selector (label query), such as app=web or 'tier in (a,b)'.
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Selector (field query), such as status.phase=Running.
    #[arg(long)]
    pub field_selector: Option<String>,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl Selection {
    /// The query of a list request.
    pub fn query(&self) -> Vec<(&'static str, &str)> {
        let label = self.selector.as_deref().map(|s| ("labelSelector", s));
        label.into_iter().chain(self.field_selector.as_deref().map(|s| ("fieldSelector", s))).collect()
    }
    pub fn is_empty(&self) -> bool {
        self.selector.is_none() && self.field_selector.is_none()
    }
}

/// What the words of a command line name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// `TYPE[,TYPE…]` alone.
    Types(Vec<Resource>),
    /// Objects one by one.
    Objects(Vec<(Resource, String)>),
}

/// Reads `TYPE[,TYPE]`, `TYPE NAME…` or `TYPE/NAME…`.
pub async fn parse(words: &[String], resources: &Resources) -> Result<Named> {
    let Some((first, rest)) = words.split_first() else {
        return Err(CliError::usage(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    };
    if words.iter().any(|w| w.contains('/')) {
        let mut objects = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/') else {
                return Err(CliError::usage(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
                ));
            };
            if kind.is_empty() || name.is_empty() || name.contains('/') {
                return Err(CliError::usage("arguments in resource/name form must have a single resource and name"));
            }
            objects.push((resources.find(kind).await?, name.to_owned()));
        }
        return Ok(Named::Objects(objects));
    }
    let mut types: Vec<Resource> = Vec::new();
    for kind in first.split(',').filter(|k| !k.is_empty()) {
        for resource in resources.find_all(kind).await? {
            if !types.contains(&resource) {
                types.push(resource);
            }
        }
    }
    if rest.is_empty() {
        return Ok(Named::Types(types));
    }
    let pairs = types.iter().flat_map(|t| rest.iter().map(|n| (t.clone(), n.clone())));
    Ok(Named::Objects(pairs.collect()))
}

/// An object somewhere on the cluster.
#[derive(Clone, Debug)]
pub struct Target {
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
    /// As it was read from the cluster, or from a file when only files were asked for.
    pub object: Value,
}

impl Target {
    pub fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }
    /// `deployment.apps/web`
    pub fn label(&self) -> String {
        self.resource.named(&self.name)
    }
    pub fn from_object(resource: Resource, object: Value, default_namespace: &str) -> Self {
        let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let namespace =
            Some(text("namespace")).filter(|n| !n.is_empty()).unwrap_or_else(|| default_namespace.to_owned());
        Self { namespace, name: text("name"), resource, object }
    }
}

/// Everything that words, selectors and files name, read from the cluster. Errors of single objects come beside what was found.
pub async fn fetch(
    session: &Session,
    words: &[String],
    selection: &Selection,
    files: &Files,
    every: bool,
) -> Result<(Vec<Target>, Vec<CliError>)> {
    let resources = Resources::new(session);
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    if !files.is_empty() {
        for object in manifest::read(files)? {
            let target = manifest::target(&object, session, &resources).await?;
            match session.get(&target.path()).await {
                Ok(object) => found.push(Target { object, ..target }),
                Err(error) => errors.push(error),
            }
        }
        return Ok((found, errors));
    }
    match parse(words, &resources).await? {
        Named::Objects(objects) => {
            if !selection.is_empty() {
                return Err(CliError::usage("name cannot be provided when a selector is specified"));
            }
            for (resource, name) in objects {
                match session.get(&resource.object(&session.namespace, &name)).await {
                    Ok(object) => found.push(Target { namespace: session.namespace.clone(), resource, name, object }),
                    Err(error) => errors.push(error),
                }
            }
        }
        Named::Types(types) => {
            if selection.is_empty() && !every {
                return Err(CliError::usage("resource(s) were provided, but no name was specified"));
            }
            for resource in types {
                found.extend(list(session, &resource, selection).await?);
            }
        }
    }
    Ok((found, errors))
}

/// All objects of a resource that a selection chooses.
pub async fn list(session: &Session, resource: &Resource, selection: &Selection) -> Result<Vec<Target>> {
    let namespace = (!selection.all_namespaces).then_some(session.namespace.as_str());
    let path = with_query(&resource.collection(namespace), &selection.query());
    let answer = session.get(&path).await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let api_version = resource.api_version();
    let whole = |mut item: Value| {
        // Items of a list need not say what they are.
        item["apiVersion"] = api_version.clone().into();
        item["kind"] = resource.kind.clone().into();
        Target::from_object(resource.clone(), item, &session.namespace)
    };
    Ok(items.into_iter().map(whole).collect())
}

/// One object by `TYPE/NAME` or `TYPE NAME`; the default type stands for a bare name.
pub async fn single(session: &Session, words: &[String], default: Option<&str>) -> Result<Target> {
    let resources = Resources::new(session);
    let words = match (words, default) {
        ([name], Some(default)) if !name.contains('/') => vec![default.to_owned(), name.clone()],
        _ => words.to_vec(),
    };
    match parse(&words, &resources).await? {
        Named::Objects(objects) => match objects.as_slice() {
            [(resource, name)] => {
                let object = session.get(&resource.object(&session.namespace, name)).await?;
                Ok(Target {
                    namespace: session.namespace.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    object,
                })
            }
            _ => Err(CliError::usage("only one resource may be specified")),
        },
        Named::Types(_) => Err(CliError::usage("you must specify the name of a resource")),
    }
}
