//! The events of an object.
use super::Describer;
use super::text::{Text, items, number, since, text};
use crate::connect::with_query;
use crate::error::Result;
use serde_json::Value;

/// Lists what happened to an object, oldest first.
pub async fn of(d: &Describer<'_>, out: &mut Text, object: &Value) -> Result<()> {
    let mut all = fetch(d, object, text(&object["metadata"]["uid"])).await?;
    if object["kind"] == "Node" {
        // Agents name a node as its own uid.
        all.extend(fetch(d, object, text(&object["metadata"]["name"])).await?);
    }
    all.sort_by_key(|e| text(&e["lastTimestamp"]));
    if all.is_empty() {
        out.field(0, "Events", "<none>");
        return Ok(());
    }
    out.line(0, "Events:\n  Type\tReason\tAge\tFrom\tMessage");
    out.line(1, "----\t------\t----\t----\t-------");
    for event in &all {
        let first = if event["eventTime"].is_string() { &event["eventTime"] } else { &event["firstTimestamp"] };
        let first = since(first, d.now);
        let (count, series) = (number(&event["count"]), &event["series"]);
        let age = if series.is_object() {
            format!("{} (x{} over {first})", since(&series["lastObservedTime"], d.now), number(&series["count"]))
        } else if count > 1 {
            format!("{} (x{count} over {first})", since(&event["lastTimestamp"], d.now))
        } else {
            first
        };
        let from = [&event["source"]["component"], &event["reportingComponent"]].into_iter().map(text);
        let from = from.into_iter().find(|f| !f.is_empty()).unwrap_or_default();
        let message = text(&event["message"]);
        out.line(
            1,
            &format!("{}\t{}\t{age}\t{from}\t{}", text(&event["type"]), text(&event["reason"]), message.trim()),
        );
    }
    Ok(())
}

async fn fetch(d: &Describer<'_>, object: &Value, uid: String) -> Result<Vec<Value>> {
    let metadata = &object["metadata"];
    let namespace = text(&metadata["namespace"]);
    let mut wanted = vec![format!("involvedObject.name={}", text(&metadata["name"]))];
    let mut path = "/api/v1/events".to_owned();
    if !namespace.is_empty() {
        wanted.push(format!("involvedObject.namespace={namespace}"));
        path = format!("/api/v1/namespaces/{namespace}/events");
    }
    wanted.push(format!("involvedObject.kind={}", text(&object["kind"])));
    wanted.push(format!("involvedObject.uid={uid}"));
    let list = d.session.get(&with_query(&path, &[("fieldSelector", &wanted.join(","))])).await?;
    Ok(items(&list["items"]).to_vec())
}
