//! Push and pull against Debian's `docker-registry` on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#[path = "support/docker_registry.rs"]
mod docker_registry;
mod support;
use docker_registry::Registry;
use isopod_images::reference::Reference;
use isopod_images::registry::RegistryConfig;
use isopod_images::{Credentials, ImageError, ImageStore, Images};
use std::process::Command;
use support::Site;

fn with_image(site: &Site) -> String {
    site.write("file", "content");
    site.build_ok("web:v1", "FROM scratch\nCOPY file /file\nENV A=b\nCOPY file /second\n", &[]);
    site.id("web:v1")
}

#[test]
fn what_is_pushed_can_be_pulled_elsewhere() {
    let registry = Registry::start("");
    let (site, other) = (Site::new(), Site::new());
    let id = with_image(&site);
    let name = registry.name("team/web:v1");
    site.ok(&["image", "tag", "web:v1", &name]);
    let pushed = site.ok(&["image", "push", "-q", &name]);
    let (_, digest) = pushed.trim().rsplit_once('@').unwrap();
    assert!(String::from_utf8_lossy(&site.command(&["image", "push", &name]).stderr).contains("already exists"));

    assert_eq!(other.ok(&["image", "pull", "-q", &name]).trim(), name);
    assert_eq!(other.id(&name), id);
    assert_eq!(other.read(&name, "second"), "content");
    let by_digest = format!("{}@{digest}", registry.name("team/web"));
    assert_eq!(other.store().lookup(&by_digest).unwrap().unwrap().digests, std::slice::from_ref(&by_digest));
    let again = String::from_utf8_lossy(&other.command(&["image", "pull", &name]).stderr).into_owned();
    assert!(again.contains("Already exists") && !again.contains("Download"), "{again}");

    // By digest alone there is no tag; a build from it fetches it by itself.
    let third = Site::new();
    third.ok(&["image", "pull", "-q", &by_digest]);
    let image = third.store().lookup(&by_digest).unwrap().unwrap();
    assert_eq!((image.id.as_str(), image.tags.len()), (id.as_str(), 0));
    let fourth = Site::new();
    fourth.build_ok("child", &format!("FROM {name}\nLABEL x=y\n"), &[]);
    assert_eq!(fourth.config("child")["config"]["Env"], serde_json::json!(site.config("web:v1")["config"]["Env"]));
    // What was pulled is pushed on as it came.
    let copy = registry.name("copy/web:v9");
    other.ok(&["image", "tag", &name, &copy]);
    assert!(other.ok(&["image", "push", "-q", &copy]).contains(digest));
    for site in [&site, &other, &third, &fourth] {
        assert!(site.left_behind().is_empty());
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let registry = Registry::start("");
    let tmp = tempfile::tempdir().unwrap();
    let store = ImageStore::open_with(tmp.path(), RegistryConfig::default()).unwrap();
    let missing = registry.name("no/such:v1");
    let error = store.pull(&missing, &[]).await.unwrap_err();
    assert!(matches!(error, ImageError::NotFound { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "failed to pull and unpack image {missing:?}: failed to resolve reference {missing:?}: {missing}: not found"
        )
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = store.pull(&format!("127.0.0.1:{closed}/x"), &[]).await.unwrap_err();
    assert!(matches!(error, ImageError::Unavailable { .. }), "{error:?}");
    assert!(matches!(store.pull("Bad Name", &[]).await, Err(ImageError::InvalidName { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_tried_in_order_and_pulls_at_once_are_one() {
    // bcrypt of "secret", cost 4.
    let registry = Registry::start("user:$2b$04$nAbZYCy2vxBB1Dt4hcNQYe3OJ04pxYr30wJ7RokH/LMCUcAHfuBFS\n");
    let site = Site::new();
    with_image(&site);
    let name = registry.name("private:v1");
    let reference = Reference::parse(&name).unwrap();
    site.ok(&["image", "tag", "web:v1", &name]);
    let push = site.command(&["image", "push", &name]);
    assert!(!push.status.success(), "without credentials");
    let credentials = |password: &str| Credentials {
        registry: reference.registry.clone(),
        username: "user".into(),
        password: password.into(),
    };
    let store = ImageStore::open_with(site.data.join("images"), RegistryConfig::default()).unwrap();
    store.push_image(&name, &[credentials("wrong"), credentials("secret")], None).await.unwrap();

    let tmp = tempfile::tempdir().unwrap();
    let other = ImageStore::open_with(tmp.path().join("images"), RegistryConfig::default()).unwrap();
    let error = other.pull(&name, &[credentials("wrong")]).await.unwrap_err();
    assert!(error.to_string().contains("pull access denied"), "{error}");
    let right = [credentials("wrong"), credentials("secret")];
    let all = futures::future::join_all((0..8).map(|_| other.pull(&name, &right))).await;
    let ids: Vec<String> = all.into_iter().map(|i| i.unwrap().id).collect();
    assert!(ids.iter().all(|id| *id == site.id("web:v1")));

    // From docker's own file, and through a mirror.
    let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "user:secret");
    let docker = tmp.path().join("config.json");
    std::fs::write(&docker, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, reference.registry)).unwrap();
    let own = tmp.path().join("registries.json");
    std::fs::write(&own, format!(r#"{{"mirrors":{{"mirrored.example":["http://{}"]}}}}"#, reference.registry)).unwrap();
    let config = RegistryConfig { docker: Some(docker), own: Some(own) };
    let third = ImageStore::open_with(tmp.path().join("third"), config).unwrap();
    let image = third.pull("mirrored.example/private:v1", &[]).await.unwrap();
    assert_eq!(image.tags, ["mirrored.example/private:v1"]);
}

/// As docker's users have it: passwords are kept by a program.
#[test]
fn credential_helpers_are_asked() {
    use std::os::unix::fs::PermissionsExt;
    let registry = Registry::start("user:$2b$04$nAbZYCy2vxBB1Dt4hcNQYe3OJ04pxYr30wJ7RokH/LMCUcAHfuBFS\n");
    let site = Site::new();
    let id = with_image(&site);
    let name = registry.name("private:v1");
    site.ok(&["image", "tag", "web:v1", &name]);
    let bin = site.tmp.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread -r server\nif [ \"$1 $server\" != 'get 127.0.0.1:{}' ]; then echo 'credentials not found in native keychain'; exit 1; fi\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"secret\"}}'\n",
        registry.port
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let push = |config: &str| {
        std::fs::write(site.tmp.path().join("config.json"), config).unwrap();
        let mut command = Command::new(support::BINARY);
        command.arg(&site.data).args(["image", "push", "-q", &name]).env("DOCKER_CONFIG", site.tmp.path());
        let out = command.env("PATH", &path).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (ok, text) = push(r#"{"credsStore":"nosuch"}"#);
    assert!(!ok && text.contains("failed to push"), "{text}");
    let own = format!(r#"{{"credHelpers":{{"127.0.0.1:{}":"test"}},"credsStore":"nosuch"}}"#, registry.port);
    for config in [r#"{"credsStore":"test"}"#, &own] {
        let (ok, text) = push(config);
        assert!(ok, "{config}: {text}");
    }
    assert_eq!(site.id(&name), id);
}
