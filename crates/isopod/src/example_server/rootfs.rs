//! This program as the root of an image: the binary, the dynamic loader it names, and the libraries that are loaded right now.
//!
//! Everything is put where it lies on this machine, so that the loader finds it by its built-in search path without `ld.so.cache`. A
//! statically linked binary is alone.
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the binary is in the image.
const BINARY: &str = "bin/isopod";

/// Fills `dir`, which must be empty, new, or filled by an earlier call.
pub fn write(dir: &Path) -> Result<()> {
    if !dir.join(BINARY).exists() && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} holds other things: choose an empty or new directory", dir.display());
    }
    let me = fs::read_link("/proc/self/exe").context("cannot find my own binary")?;
    copy(&me, &dir.join(BINARY))?;
    if let Some(loader) = interpreter(&fs::read(&me).with_context(|| format!("cannot read {}", me.display()))?) {
        copy(&loader, &below(dir, &loader))?;
    }
    let maps = fs::read_to_string("/proc/self/maps").context("cannot see my own libraries")?;
    for library in libraries(&maps, &me) {
        copy(&library, &below(dir, &library))?;
        for name in other_names(&library) {
            copy(&library, &below(dir, &name))?;
        }
    }
    Ok(())
}

fn below(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path.strip_prefix("/").unwrap_or(path))
}

/// A copy, not a second name for the same file: what is in the directory may be changed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(what)?;
    let real = fs::canonicalize(from).with_context(what)?;
    fs::copy(&real, to).map(drop).with_context(what)
}

/// Libraries in `/proc/PID/maps`.
fn libraries(maps: &str, me: &Path) -> BTreeSet<PathBuf> {
    let paths = maps.lines().filter_map(|line| Some(Path::new(line.get(line.find('/')?..)?)));
    let is_library = |path: &&Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so"));
    paths.filter(|path| *path != me).filter(is_library).map(Path::to_owned).collect()
}

/// Links beside a library that mean it: `libc.so.6` for `libc-2.31.so`. Programs ask by these names.
fn other_names(library: &Path) -> Vec<PathBuf> {
    let Some(entries) = library.parent().and_then(|dir| fs::read_dir(dir).ok()) else { return Vec::new() };
    let links = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.map(|link| link.path()).filter(|link| fs::canonicalize(link).is_ok_and(|real| real == library)).collect()
}

/// The dynamic loader an ELF file asks for (`elf(5)`, segment `PT_INTERP`). Only 64 bit, little endian: all that we are built for.
fn interpreter(elf: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let offset = |at: usize, length: usize| usize::try_from(number(at, length)?).ok();
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (offset(32, 8)?, offset(54, 2)?, offset(56, 2)?);
    let mut headers = (0..count).filter_map(|n| table.checked_add(n.checked_mul(size)?));
    let header = headers.find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let (start, length) = (offset(header.checked_add(8)?, 8)?, offset(header.checked_add(32)?, 8)?);
    let text = elf.get(start..start.checked_add(length)?)?.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_maps() {
        let maps = "55d0-55d1 r-xp 00000000 fe:00 1  /usr/bin/isopod\n\
                    7f00-7f01 r-xp 00000000 fe:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f01-7f02 r--p 00001000 fe:00 2  /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f02-7f03 rw-p 00000000 00:00 0 \n7f04-7f05 r--p 0 fe:00 3  /tmp/data\n7fff-8000 rw-p 0 00:00 0 [stack]\n";
        let found: Vec<_> = libraries(maps, Path::new("/usr/bin/isopod")).into_iter().collect();
        assert_eq!(found, [PathBuf::from("/usr/lib/x86_64-linux-gnu/libc.so.6")]);
    }

    #[test]
    fn what_is_no_elf_has_no_loader() {
        let me = fs::read("/proc/self/exe").unwrap();
        if let Some(loader) = interpreter(&me) {
            assert!(loader.is_absolute() && loader.exists(), "{}", loader.display());
        }
        for cut in [0, 5, 6, 40, 60, 64, 100] {
            assert_eq!(interpreter(&me[..cut]), None, "{cut} bytes");
        }
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
    }
}
