//! Layers there and back, and layers that want out.
use super::*;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use tar::{Builder, EntryType, Header};

/// One entry of a tar, in words.
enum Item<'i> {
    Dir(&'i str, u32),
    File(&'i str, &'i str),
    Link(&'i str, &'i str),
    Hard(&'i str, &'i str),
    Device(&'i str, u32, u32),
    Xattr(&'i str, &'i str, &'i str),
}
use Item::{Device, Dir, File, Hard, Link, Xattr};

/// Writes names as they are, also those that the `tar` crate would not let pass.
fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for item in items {
        let mut header = Header::new_gnu();
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000);
        header.set_mode(0o644);
        header.set_size(0);
        let (name, kind, content) = match item {
            Dir(name, mode) => {
                header.set_mode(*mode);
                (*name, EntryType::Directory, "")
            }
            File(name, content) => (*name, EntryType::Regular, *content),
            Link(name, target) => {
                header.set_link_name_literal(target).unwrap();
                (*name, EntryType::Symlink, "")
            }
            Hard(name, target) => {
                header.set_link_name_literal(target).unwrap();
                (*name, EntryType::Link, "")
            }
            Device(name, major, minor) => {
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
                (*name, EntryType::Char, "")
            }
            Xattr(name, key, value) => {
                let key = format!("SCHILY.xattr.{key}");
                builder.append_pax_extensions([(key.as_str(), value.as_bytes())]).unwrap();
                (*name, EntryType::Directory, "")
            }
        };
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

struct Stack {
    tmp: tempfile::TempDir,
    layers: Vec<PathBuf>,
}

impl Stack {
    fn new() -> Self {
        Self { tmp: tempfile::tempdir().unwrap(), layers: Vec::new() }
    }

    fn add(&mut self, items: &[Item<'_>]) -> Summary {
        self.try_add(items).unwrap()
    }

    fn try_add(&mut self, items: &[Item<'_>]) -> std::io::Result<Summary> {
        let dir = self.tmp.path().join(format!("{}", self.layers.len()));
        let summary = unpack(tar(items).as_slice(), &dir, &self.layers)?;
        self.layers.push(dir);
        Ok(summary)
    }

    fn view(&self) -> View {
        View::new(self.layers.clone())
    }

    /// Everything that is seen, one name a word.
    fn seen(&self) -> String {
        let (view, mut out, mut todo) = (self.view(), Vec::new(), vec![PathBuf::new()]);
        while let Some(dir) = todo.pop() {
            for (name, node) in view.read_dir(&dir).unwrap() {
                let path = dir.join(name);
                if node.metadata.is_dir() {
                    todo.push(path.clone());
                }
                out.push(path.display().to_string());
            }
        }
        out.sort();
        out.join(" ")
    }
}

fn text(layer: &Path, path: &str) -> String {
    fs::read_to_string(layer.join(path)).unwrap()
}

#[test]
fn a_layer_keeps_everything_and_comes_back_as_the_same_tar() {
    let long = "d/".repeat(60) + "leaf";
    let mut stack = Stack::new();
    stack.add(&[
        Dir("bin/", 0o1777),
        File("bin/a", "hello"),
        Hard("bin/b", "bin/a"),
        Link("bin/c", "../x//./y"),
        Device("null", 1, 3),
        Dir("with xattr", 0o755),
        Xattr("with xattr", "user.note", "a\nb"),
    ]);
    let layer = stack.layers[0].clone();
    let meta = fs::metadata(layer.join("bin")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o1777, 7, 8, 1000));
    assert_eq!(fs::metadata(layer.join("bin/a")).unwrap().ino(), fs::metadata(layer.join("bin/b")).unwrap().ino());
    assert_eq!(fs::read_link(layer.join("bin/c")).unwrap().as_os_str(), "../x//./y");
    let device = fs::metadata(layer.join("null")).unwrap();
    assert!(device.file_type().is_char_device() && device.rdev() == rustix::fs::makedev(1, 3));
    fs::create_dir_all(layer.join(Path::new(&long).parent().unwrap())).unwrap();
    fs::write(layer.join(&long), "deep").unwrap();
    fs::set_permissions(layer.join(&long), fs::Permissions::from_mode(0o4755)).unwrap();
    let (mut first, mut again) = (Vec::new(), Vec::new());
    pack(&layer, &mut first).unwrap();
    let copy = stack.tmp.path().join("copy");
    unpack(first.as_slice(), &copy, &[]).unwrap();
    pack(&copy, &mut again).unwrap();
    assert!(first == again, "packing is a fixed point");
    assert_eq!(text(&copy, &long), "deep");
    assert_eq!(fs::metadata(copy.join(&long)).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(copy.join("bin/c")).unwrap().as_os_str(), "../x//./y");
}

/// The form at rest is overlayfs': the kernel's own view of the stack is the one computed here.
#[test]
fn whiteouts_hide_what_is_below() {
    let mut stack = Stack::new();
    stack.add(&[
        Dir("a", 0o755),
        File("a/1", ""),
        File("a/2", ""),
        Dir("b", 0o755),
        File("b/1", ""),
        Dir("c", 0o755),
        File("c/1", ""),
    ]);
    stack.add(&[
        File("a/.wh.1", ""),
        File("b/.wh..wh..opq", ""),
        File("b/2", ""),
        File(".wh.c", ""),
        File(".wh.never", ""),
    ]);
    assert_eq!(stack.seen(), "a a/2 b b/2");
    // A directory that comes back has nothing of what was in it; a file put where a directory was hides it.
    stack.add(&[Dir("c", 0o700), File("c/new", ""), File("a", "now a file")]);
    assert_eq!(stack.seen(), "a b b/2 c c/new");
    stack.add(&[File(".wh.b", ""), Dir("b", 0o755), File("b/3", "")]);
    assert_eq!(stack.seen(), "a b b/3 c c/new");
    let mut again = Stack::new();
    for layer in &stack.layers {
        let mut packed = Vec::new();
        pack(layer, &mut packed).unwrap();
        let dir = again.tmp.path().join(again.layers.len().to_string());
        unpack(packed.as_slice(), &dir, &again.layers).unwrap();
        again.layers.push(dir);
    }
    assert_eq!(again.seen(), stack.seen(), "whiteouts survive packing");
    assert_eq!(mounted(&stack), stack.seen(), "the kernel sees the same");
}

/// What overlayfs shows, in a mount namespace that ends with its program.
fn mounted(stack: &Stack) -> String {
    let lower: Vec<_> = stack.layers.iter().rev().map(|l| l.display().to_string()).collect();
    let at = stack.tmp.path().join("mnt");
    fs::create_dir(&at).unwrap();
    let script = "mount -t overlay o -o ro,lowerdir=\"$0\" \"$1\" && cd \"$1\" && find . | sort";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(lower.join(":")).arg(&at);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let out = String::from_utf8(out.stdout).unwrap();
    out.lines().filter_map(|l| l.strip_prefix("./")).collect::<Vec<_>>().join(" ")
}

#[test]
fn directories_that_a_tar_leaves_out_are_those_below() {
    let mut stack = Stack::new();
    assert!(
        !stack
            .add(&[
                Dir("etc", 0o711),
                Dir("usr", 0o755),
                Dir("usr/lib", 0o750),
                Link("lib", "usr/lib"),
                File("etc/x", "1")
            ])
            .leaned
    );
    assert!(stack.add(&[File("etc/y", "2"), File("lib/z", "3"), Hard("etc/w", "etc/x")]).leaned);
    let top = stack.layers[1].clone();
    let etc = fs::metadata(top.join("etc")).unwrap();
    assert_eq!((etc.mode() & 0o777, etc.uid()), (0o711, 7));
    assert_eq!(text(&top, "usr/lib/z"), "3");
    assert_eq!(text(&top, "etc/w"), "1");
    assert_eq!(stack.seen(), "etc etc/w etc/x etc/y lib usr usr/lib usr/lib/z");
}

#[test]
fn nothing_in_a_layer_leads_out_of_it() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let out = outside.path().to_str().unwrap();
    let up = "../".repeat(12);
    let climbing = format!("{up}{}", victim.to_str().unwrap().trim_start_matches('/'));
    let cases: Vec<(&str, Vec<Item<'_>>)> = vec![
        ("dots", vec![File("../evil", "x")]),
        ("dots inside", vec![Dir("a", 0o755), File("a/../../evil", "x")]),
        ("absolute link", vec![Link("a", out), File("a/victim", "x")]),
        ("relative link", vec![Link("a", &climbing), File("a", "x"), Link("b", "../../.."), File("b/evil", "x")]),
        (
            "link over a directory",
            vec![Dir("a", 0o755), Link("a", out), File("a/victim", "x"), File("a/.wh.victim", "")],
        ),
        ("hard link out", vec![Hard("a", &climbing), File("a", "x")]),
        ("hard link through a link", vec![Link("l", out), Hard("a", "l/victim"), File("a", "x")]),
        ("loop", vec![Link("a", "b"), Link("b", "a"), File("a/x", "x")]),
        ("whiteout of dots", vec![File(".wh...", ""), File(".wh..", "")]),
        ("opaque through a link", vec![Link("a", out), File("a/.wh..wh..opq", "")]),
    ];
    for (name, items) in cases {
        let tmp = tempfile::tempdir_in(outside.path()).unwrap();
        let mut stack = Stack { tmp, layers: Vec::new() };
        let _ = stack.try_add(&items);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched", "{name}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "{name}: only the victim and the layer");
        assert!(fs::metadata(&victim).unwrap().nlink() == 1, "{name}");
    }
    assert!(!Path::new("/evil").exists());
}

#[test]
fn a_layer_gives_no_orders_to_overlayfs() {
    let mut stack = Stack::new();
    stack.add(&[Dir("a", 0o755), File("a/1", "")]);
    stack.add(&[Xattr("a", "trusted.overlay.opaque", "y"), Xattr("b", "trusted.overlay.redirect", "/a")]);
    assert_eq!(stack.seen(), "a a/1 b");
    assert!(!attributes::is_opaque(&stack.layers[1].join("a")));
}

#[test]
fn damage_is_an_error_with_a_name() {
    let mut stack = Stack::new();
    let error = stack.try_add(&[File("../x", "")]).unwrap_err().to_string();
    assert_eq!(error, "path \"../x\" leads out of it");
    let whole = tar(&[File("a/file", &"x".repeat(5000))]);
    let cut = &whole[..2000];
    let error = unpack(cut, &stack.tmp.path().join("cut"), &[]).unwrap_err();
    assert!(error.raw_os_error().is_none(), "{error}");
    let mut noise = whole.clone();
    noise[148] ^= 0xff;
    assert!(unpack(noise.as_slice(), &stack.tmp.path().join("noise"), &[]).is_err());
}

#[test]
fn streams_are_recognized_by_their_first_bytes() {
    let plain = b"some text, some text, some text".to_vec();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    std::io::Write::write_all(&mut bzip, &plain).unwrap();
    let mut xz = Vec::new();
    lzma_rs::xz_compress(&mut plain.as_slice(), &mut xz).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for packed in [plain.clone(), gzip.finish().unwrap(), bzip.finish().unwrap(), xz, zstd] {
        let mut out = Vec::new();
        decompress(packed.as_slice()).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, plain);
    }
    let mut out = Vec::new();
    decompress(&b"ab"[..]).unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out, b"ab");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Whatever order entries come in, what is seen is inside and packs.
    #[test]
    fn any_order_of_entries_is_handled(picks in proptest::collection::vec(0_usize..12, 0..10)) {
        let mut stack = Stack::new();
        let all = || [Dir("a", 0o755), File("a", "x"), Link("a", "b"), Dir("b", 0o755), File("a/c", "y"), File(".wh.a", ""), File("b/.wh..wh..opq", ""), Hard("b/h", "a"), Link("b/up", "/../.."), File("b/up/z", ""), File(".wh.b", ""), Device("b/d", 0, 0)];
        for half in picks.chunks(5) {
            let items: Vec<_> = half.iter().filter_map(|n| all().into_iter().nth(*n)).collect();
            if stack.try_add(&items).is_err() {
                break;
            }
        }
        let _ = stack.seen();
        for layer in &stack.layers {
            pack(layer, std::io::sink()).unwrap();
        }
    }
}
