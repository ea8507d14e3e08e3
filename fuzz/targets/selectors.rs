//! Label and field selectors, quantities, and query strings with all that lists and writes read from them.
#![no_main]
use isopod_api::selector::{FieldSelector, Selector};
use isopod_apiserver::query::{ListOptions, Query, WriteOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(selector) = Selector::parse(text) {
        // Its text is a selector that says the same.
        let again = Selector::parse(&selector.to_string()).expect("a selector's text is a selector");
        assert_eq!(selector.to_string(), again.to_string());
    }
    drop(FieldSelector::parse(text));
    let query = Query::parse(Some(text));
    drop(ListOptions::from_query(&query, true));
    drop(ListOptions::from_query(&query, false));
    drop(WriteOptions::from_query(&query, "PatchOptions", true));
});
