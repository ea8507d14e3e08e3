//! The store through its public face: archives in and out, names, sharing, taking away, damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
use isopod_images::archive::ImportOptions;
use isopod_images::reference::Reference;
use isopod_images::store::PruneScope;
use isopod_images::{ImageError, ImageStore, Images};
use std::collections::HashSet;
use std::path::Path;
use tar::{Builder, Header};

fn rootfs(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn import(store: &ImageStore, name: &str, files: &[(&str, &str)]) -> String {
    let reference = Reference::parse(name).unwrap();
    let loaded = store.import(rootfs(files).as_slice(), Some(&reference), ImportOptions::default()).unwrap();
    loaded.id.to_string()
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn an_import_is_found_by_all_its_names() {
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(tmp.path()).unwrap();
    let id = import(&store, "web:v1", &[("a", "1")]);
    store.tag("web:v1", "localhost:5000/x/web").unwrap();
    for name in ["web:v1", "docker.io/library/web:v1", "localhost:5000/x/web:latest", &id] {
        let image = store.lookup(name).unwrap().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(image.id, id);
        assert_eq!(std::fs::read_to_string(image.layers[0].join("a")).unwrap(), "1");
        assert_eq!(image.tags, ["docker.io/library/web:v1", "localhost:5000/x/web:latest"]);
        assert_eq!(image.size, 1);
    }
    for absent in ["web", "web:v2", "other/web:v1"] {
        assert_eq!(store.lookup(absent).unwrap(), None, "{absent}");
    }
    assert!(matches!(store.lookup("Web"), Err(ImageError::InvalidName { .. })));
    assert_eq!(
        import(&ImageStore::open(tempfile::tempdir().unwrap().path()).unwrap(), "x", &[("a", "1")]),
        id,
        "the same everywhere"
    );
}

#[test]
fn what_is_saved_can_be_loaded_elsewhere() {
    let (tmp, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = ImageStore::open(tmp.path()).unwrap();
    let id = import(&store, "web:v1", &[("etc/conf", "hello"), ("bin/x", "y")]);
    let file = tmp.path().join("web.tar");
    store.save(&["web:v1".into()], std::fs::File::create(&file).unwrap()).unwrap();
    let elsewhere = ImageStore::open(other.path()).unwrap();
    let loaded = elsewhere.load(&file).unwrap();
    assert_eq!(
        (loaded[0].id.to_string(), loaded[0].names.as_slice()),
        (id.clone(), &["docker.io/library/web:v1".to_string()][..])
    );
    let image = elsewhere.lookup("web:v1").unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(image.layers[0].join("etc/conf")).unwrap(), "hello");
    // Through a pipe, and compressed.
    let third = tempfile::tempdir().unwrap();
    let store = ImageStore::open(third.path()).unwrap();
    let packed = zstd::encode_all(std::fs::File::open(&file).unwrap(), 1).unwrap();
    assert_eq!(store.load_stream(std::io::Cursor::new(packed)).unwrap()[0].id.to_string(), id);
    // What was loaded has its layers as blobs; saving gives them back as they came.
    let again = third.path().join("again.tar");
    store.save(&["web:v1".into()], std::fs::File::create(&again).unwrap()).unwrap();
    assert_eq!(elsewhere.load(&again).unwrap()[0].id.to_string(), id);
}

#[test]
fn a_damaged_archive_leaves_nothing_behind() {
    let (tmp, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = ImageStore::open(tmp.path()).unwrap();
    import(&store, "web:v1", &[("file", &"content ".repeat(400))]);
    let mut archive = Vec::new();
    store.save(&["web:v1".into()], &mut archive).unwrap();
    let target = ImageStore::open(other.path()).unwrap();
    let at = archive.windows(16).position(|w| w == b"content content ").unwrap();
    let mut flipped = archive.clone();
    flipped[at + 100] ^= 1;
    let cases = [
        ("flipped", flipped),
        ("cut", archive[..archive.len() / 2].to_vec()),
        ("noise", vec![0x55; 4096]),
        ("empty", Vec::new()),
        ("no archive", rootfs(&[("etc/passwd", "root")])),
        ("bad json", rootfs(&[("manifest.json", "[{")])),
        (
            "missing layer",
            rootfs(&[
                ("manifest.json", r#"[{"Config":"c","RepoTags":["x"],"Layers":["l"]}]"#),
                (
                    "c",
                    r#"{"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#,
                ),
            ]),
        ),
        ("climbing name", rootfs(&[("manifest.json", r#"[{"Config":"../../etc/passwd","Layers":[]}]"#)])),
    ];
    for (name, bytes) in cases {
        let error = target.load_stream(std::io::Cursor::new(bytes)).unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("standard input"), "{name}: {error}");
        assert!(target.images().unwrap().is_empty(), "{name}");
        assert_eq!(count(&other.path().join("tmp")), 0, "{name}");
        assert_eq!(count(&other.path().join("layers")), 0, "{name}");
    }
    target.prune(PruneScope::Dangling, &HashSet::new()).unwrap();
    assert_eq!(count(&other.path().join("blobs/sha256")), 0);
}

#[test]
fn layers_go_with_the_last_image_that_needs_them() {
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(tmp.path()).unwrap();
    let one = import(&store, "one", &[("a", "1")]);
    let two = import(&store, "two", &[("a", "2")]);
    let none = HashSet::new();
    store.tag("one", "uno").unwrap();
    assert!(matches!(store.untag(&one, false, &none), Err(ImageError::Refused { .. })), "an id with two names");
    let freed = store.untag("one", false, &none).unwrap();
    assert_eq!((freed.untagged, freed.deleted.len()), (vec!["docker.io/library/one:latest".to_string()], 0));
    let used: HashSet<_> = [one.parse().unwrap()].into();
    assert!(store.untag("uno", false, &used).unwrap_err().to_string().contains("is used by a container"));
    assert_eq!(store.untag(&one[7..19], false, &none).unwrap().deleted.len(), 1, "by the beginning of its id");
    assert!(store.lookup(&one).unwrap().is_none() && store.lookup(&two).unwrap().is_some());
    assert_eq!(count(&tmp.path().join("layers")), 2, "a layer and its record");
    assert!(matches!(store.untag("nosuch", false, &none), Err(ImageError::Refused { .. })));
    assert_eq!(count(&tmp.path().join("blobs/sha256")), 2, "manifest and configuration");
}

#[test]
fn a_tag_moves_and_what_it_leaves_is_pruned() {
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(tmp.path()).unwrap();
    let old = import(&store, "web", &[("a", "1")]);
    let new = import(&store, "web", &[("a", "2")]);
    assert_eq!(store.lookup("web").unwrap().unwrap().id, new);
    assert!(store.lookup(&old).unwrap().unwrap().tags.is_empty());
    let freed = store.prune(PruneScope::Dangling, &HashSet::new()).unwrap();
    assert_eq!(freed.deleted.iter().map(ToString::to_string).collect::<Vec<_>>(), [old]);
    assert!(freed.bytes > 0);
    assert_eq!(store.images().unwrap().len(), 1);
}

#[tokio::test]
async fn the_node_agents_view() {
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(tmp.path()).unwrap();
    let id = import(&store, "web", &[("a", "12345")]);
    let images: &dyn Images = &store;
    assert_eq!(images.find("web").await.unwrap().unwrap().id, id);
    assert_eq!(images.list().await.unwrap().len(), 1);
    assert!(images.remove(&id).await.unwrap() >= 5);
    assert_eq!(images.remove(&id).await.unwrap(), 0, "idempotent");
    assert!(images.find("web").await.unwrap().is_none());
}

#[test]
fn what_a_dead_process_left_is_swept() {
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(tmp.path()).unwrap();
    let id = import(&store, "web", &[("a", "1")]);
    std::fs::create_dir_all(tmp.path().join("tmp/t1/layer/x")).unwrap();
    std::fs::write(tmp.path().join("tmp/b2"), "half").unwrap();
    std::fs::create_dir_all(tmp.path().join("layers").join("ab".repeat(32)).join("x")).unwrap();
    drop(store);
    let store = ImageStore::open(tmp.path()).unwrap();
    assert_eq!((count(&tmp.path().join("tmp")), count(&tmp.path().join("layers"))), (0, 2));
    assert!(store.lookup(&id).unwrap().is_some());
    // While somebody works, nothing is swept.
    let work = store.work().unwrap();
    std::fs::write(tmp.path().join("tmp/b3"), "mine").unwrap();
    drop(ImageStore::open(tmp.path()).unwrap());
    assert_eq!(count(&tmp.path().join("tmp")), 1);
    drop(work);
    std::fs::write(tmp.path().join("version"), "isopod-images 99\n").unwrap();
    assert!(ImageStore::open(tmp.path()).is_err_and(|e| e.to_string().contains("unknown format")));
}

/// buildah and skopeo write `layer.tar` as a link to the file that `manifest.json` names; older dockers name the link.
#[test]
fn links_in_an_archive_are_followed_within_it() {
    let layer = rootfs(&[("file", "in the layer")]);
    let diff_id = isopod_images::digest::Digest::of(&layer);
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#);
    let archive = |link: &str, target: &str| {
        let mut builder = Builder::new(Vec::new());
        let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["linked:v1"],"Layers":["{link}"]}}]"#);
        for (name, content) in
            [("real.tar", layer.as_slice()), ("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())]
        {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).unwrap();
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "old/layer.tar", target).unwrap();
        std::io::Cursor::new(builder.into_inner().unwrap())
    };
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open(tmp.path()).unwrap();
    for link in ["real.tar", "old/layer.tar"] {
        store.load_stream(archive(link, "../real.tar")).unwrap();
        let image = store.lookup("linked:v1").unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(image.layers[0].join("file")).unwrap(), "in the layer");
    }
    for out in ["/etc/hostname", "../../../../etc/hostname", "layer.tar"] {
        assert!(matches!(store.load_stream(archive("old/layer.tar", out)), Err(ImageError::Corrupt { .. })), "{out}");
    }
}
