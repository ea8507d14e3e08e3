//! The labels by which a Job knows its pods; made of its uid and name unless it brings a selector of its own.
use crate::field::{Error, Errors, Path};
use crate::k8s::api::batch::v1::Job;
use crate::selector::Selector;
use std::collections::BTreeMap;

const UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// `generateSelector`. Labels that are there already stay: validation tells what is wrong with them.
pub fn generate(job: &mut Job) {
    let Job { metadata, spec, .. } = job;
    let spec = spec.get_or_insert_default();
    if spec.manual_selector == Some(true) {
        return;
    }
    let (name, uid) = (metadata.name.clone().unwrap_or_default(), metadata.uid.clone().unwrap_or_default());
    let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_default();
    for (keys, value) in [(NAME, &name), (UID, &uid)] {
        for key in keys {
            labels.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
    }
    let selected = spec.selector.get_or_insert_default().match_labels.get_or_insert_default();
    selected.entry(UID[1].to_owned()).or_insert(uid);
    // A Job without labels has its template's; upstream sees to it when it reads the object back from its store.
    if metadata.labels.is_none() {
        metadata.labels = Some(labels.clone());
    }
}

/// `validateGeneratedSelector`
pub fn validate_generated(job: &Job, out: &mut Errors) {
    let Some(spec) = job.spec.as_ref().filter(|s| s.manual_selector != Some(true)) else { return };
    let Some(selector) = &spec.selector else { return };
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if uid.is_empty() {
        out.push(Error::required(&Path::new("metadata").child("uid"), ""));
    }
    let path = Path::new("spec").child("template").child("metadata").child("labels");
    let none = BTreeMap::new();
    let labels = spec.template.metadata.as_ref().and_then(|m| m.labels.as_ref()).unwrap_or(&none);
    let mut expected = BTreeMap::new();
    for (keys, value) in [(UID, uid), (NAME, name)] {
        for key in keys {
            expected.insert(key.to_owned(), value.to_owned());
            let detail = format!("must be '{value}'");
            match labels.get(key) {
                None => out.push(Error::required(&path.key(key), detail)),
                Some(found) if found != value => out.push(Error::invalid(&path.key(key), labels, detail)),
                Some(_) => {}
            }
        }
    }
    if Selector::from_label_selector(Some(selector)).is_ok_and(|s| !s.matches(&expected)) {
        let path = Path::new("spec").child("selector");
        out.push(Error::invalid(&path, super::shown(Some(selector)), "`selector` not auto-generated"));
    }
}
