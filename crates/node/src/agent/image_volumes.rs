//! Directories for the `VOLUME`s an image declares: each container gets its own, filled with what the image has there, unless the pod
//! mounts something at that place. They end with their container (containerd's CRI plugin does the same): what shall outlive it
//! belongs in a volume of the pod.
use isopod_images::Image;
use isopod_images::layer::{View, copy_out};
use isopod_runtime::{Mount, MountSource, Propagation};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Adds the mounts for the image's volumes to those of the pod, outer ones first. `root` holds the directories of this container and
/// of earlier ones of its name, which go.
pub(super) async fn add(root: PathBuf, attempt: u32, image: &Image, mounts: Vec<Mount>) -> io::Result<Vec<Mount>> {
    let wanted = wanted(&image.config.volumes, &mounts);
    let view = View::new(image.layers.clone());
    let made = tokio::task::spawn_blocking(move || make(&root, attempt, &view, wanted));
    let mut all = mounts;
    all.extend(made.await.map_err(io::Error::other)??);
    // A mount hides what was mounted below it before.
    all.sort_by_key(|mount| mount.target.components().count());
    Ok(all)
}

/// Where the image wants volumes and the pod has none.
fn wanted(volumes: &[String], mounts: &[Mount]) -> Vec<PathBuf> {
    let clean = |path: &Path| -> PathBuf {
        let parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
        Path::new("/").join(parts.collect::<PathBuf>())
    };
    let taken: Vec<PathBuf> = mounts.iter().map(|mount| clean(&mount.target)).collect();
    let mut wanted: Vec<PathBuf> = volumes.iter().map(|volume| clean(Path::new(volume))).collect();
    wanted.sort();
    wanted.dedup();
    // A volume in the place of the whole root is no volume.
    wanted.retain(|path| path != Path::new("/") && !taken.contains(path));
    wanted
}

fn make(root: &Path, attempt: u32, view: &View, wanted: Vec<PathBuf>) -> io::Result<Vec<Mount>> {
    match std::fs::remove_dir_all(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut mounts = Vec::new();
    for (n, target) in wanted.into_iter().enumerate() {
        let at = root.join(attempt.to_string()).join(n.to_string());
        copy_out(view, &target, &at)?;
        mounts.push(Mount {
            source: MountSource::Bind(at),
            target,
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::Private,
        });
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isopod_images::ImageConfig;

    fn bind(target: &str) -> Mount {
        let (source, propagation) = (MountSource::Bind("/x".into()), Propagation::Private);
        Mount { source, target: target.into(), read_only: true, recursive_read_only: false, propagation }
    }

    #[tokio::test]
    async fn a_container_gets_a_directory_of_its_own_where_the_pod_mounts_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let layer = tmp.path().join("layer");
        std::fs::create_dir_all(layer.join("data")).unwrap();
        std::fs::write(layer.join("data/seed"), "from the image").unwrap();
        let volumes = ["/data/", "/data", "/cache", "logs", "/", "/mounted/"].map(String::from).to_vec();
        let config = ImageConfig { volumes, ..ImageConfig::default() };
        let image = Image {
            id: "sha256:1".into(),
            tags: vec![],
            digests: vec![],
            config,
            layers: vec![layer.clone()],
            size: 0,
        };
        let root = tmp.path().join("volumes");
        let shown = |mounts: &[Mount]| -> Vec<String> {
            let one = |m: &Mount| format!("{}{}", m.target.display(), if m.read_only { " ro" } else { "" });
            mounts.iter().map(one).collect()
        };
        let of_pod = vec![bind("/data/deep/er"), bind("/mounted")];
        let first = add(root.clone(), 0, &image, of_pod.clone()).await.unwrap();
        assert_eq!(shown(&first), ["/mounted ro", "/cache", "/data", "/logs", "/data/deep/er ro"]);
        let MountSource::Bind(data) = &first[2].source else { unreachable!("it is a directory") };
        assert_eq!(std::fs::read_to_string(data.join("seed")).unwrap(), "from the image");
        std::fs::write(data.join("mine"), "x").unwrap();
        assert!(!layer.join("data/mine").exists());

        let next = add(root, 1, &image, of_pod).await.unwrap();
        let MountSource::Bind(fresh) = &next[2].source else { unreachable!("it is a directory") };
        assert!(fresh.join("seed").exists() && !fresh.join("mine").exists() && !data.exists());
    }
}
