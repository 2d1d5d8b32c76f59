//! Unpacking into the cache: into a private folder first, then renamed, so that a source is there
//! whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kverdict_intake::unpacked_limit;
use walkdir::WalkDir;

use super::cache::Cache;
use super::package::compressed::XZ_MEMORY;
use super::package::{Format, Package};
use crate::process::{Job, bytes_read};
use crate::progress::Progress;

/// A kernel tarball takes a minute on a slow disk.
const UNPACK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Unpacks a source tarball, whose single top folder becomes `target`.
///
/// # Errors
/// When it is damaged, or is no kernel source.
pub fn tarball(file: &Path, target: &Path, cache: &Cache, progress: &Progress) -> Result<()> {
    let scratch = cache.scratch()?;
    let tree = scratch.path().join("tree");
    source(file, &tree, cache, progress)?;
    keep(&tree, target, &name_of(file))
}

/// Unpacks the single top folder of a foreign tarball into a new folder, where nothing in it may lead
/// out again.
///
/// # Errors
/// When it is damaged, unpacks to more than a source would, or has what no source has. The folder is
/// of no use then.
pub fn source(file: &Path, folder: &Path, cache: &Cache, progress: &Progress) -> Result<()> {
    extract(file, folder, 1, cache, progress)?;
    stays_inside(folder).with_context(|| format!("cannot use {}", file.display()))
}

/// Unpacks a tarball into a new folder, without the first `strip` folders of its names.
///
/// GNU tar itself refuses names that leave the folder and makes links last, so that nothing goes
/// through them. Owners, and rights beyond read, write and execute, are ignored.
///
/// # Errors
/// When it is damaged, or unpacks to more than a kernel would.
pub fn extract(
    file: &Path,
    folder: &Path,
    strip: u32,
    cache: &Cache,
    progress: &Progress,
) -> Result<()> {
    let scratch = cache.scratch()?;
    fs::create_dir(folder)?;
    let task = progress.task(format!("unpacking {}", name_of(file)), 0);
    let job = Job::new("tar", UNPACK_LIMIT)
        .args(["--extract", "--no-same-owner", "--no-same-permissions"])
        .args([format!("--strip-components={strip}")])
        .args(["--file".as_ref(), file.as_os_str()])
        .args(["--directory".as_ref(), folder.as_os_str()])
        // Decompression on all processors; other compressors ignore it.
        .env("XZ_DEFAULTS", format!("-T0 {XZ_MEMORY}"))
        .log(scratch.path().join("tar.log"));
    let packed = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    run_limited(&job, unpacked_limit(packed.len())).with_context(|| {
        format!(
            "cannot unpack {}: it is damaged or cut off; fetch it again",
            file.display()
        )
    })?;
    drop(task);
    Ok(())
}

/// Runs a job that reads no more than so many bytes, those of its decompressor included.
fn run_limited(job: &Job, limit: u64) -> Result<()> {
    let child = job.start()?;
    let id = child.id();
    let ending = child.wait_with(|| {
        if bytes_read(id).is_some_and(|bytes| bytes > limit) {
            bail!("it unpacks to more than {limit} bytes");
        }
        Ok(())
    })?;
    job.check(ending)
}

/// Checks that a folder holds nothing but files, folders, and links to its own.
fn stays_inside(folder: &Path) -> Result<()> {
    for entry in WalkDir::new(folder) {
        let entry = entry?;
        let place = entry.path().strip_prefix(folder)?;
        let shown = place.to_string_lossy();
        let shown = shown.escape_debug();
        if entry.path_is_symlink() {
            let target = fs::read_link(entry.path())?;
            if leads_out(place, &target) {
                bail!("the link {shown} in it leads out of its folder: this is no source to trust");
            }
        } else if !entry.file_type().is_file() && !entry.file_type().is_dir() {
            bail!("{shown} in it is neither file nor folder: this is no source to trust");
        }
    }
    Ok(())
}

/// Whether a link at `place` to `target` may lead out of the folder that `place` is relative to. Behind
/// a name that may be a link itself, `..` leads nobody knows where.
fn leads_out(place: &Path, target: &Path) -> bool {
    let mut above = place.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return true,
            Component::ParentDir if above == 0 => return true,
            Component::ParentDir => above -= 1,
            Component::CurDir => {}
            Component::Normal(_) => above = 0,
        }
    }
    false
}

/// Moves a finished source tree to where the cache keeps it.
///
/// # Errors
/// When it is no kernel source; `from` names what it was in.
pub fn keep(tree: &Path, target: &Path, from: &str) -> Result<()> {
    if !tree.join("Makefile").is_file() || !tree.join("Kconfig").is_file() {
        bail!("{from} holds no kernel source: there is no Makefile and Kconfig in its top folder");
    }
    fs::rename(tree, target)
        .with_context(|| format!("cannot move the source to {}", target.display()))
}

/// Takes one file out of a Debian package and hands it to `use_it`.
///
/// # Errors
/// When the package is damaged or lacks the file, or `use_it` fails.
pub fn from_package(
    file: &Path,
    inner: &str,
    cache: &Cache,
    progress: &Progress,
    use_it: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let scratch = cache.scratch()?;
    let found = scratch.path().join(name_of(Path::new(inner)));
    Package::open(Format::Deb, file, scratch.path(), progress)?
        .take(&BTreeMap::from([(inner.to_owned(), found.clone())]))
        .context("`dpkg-deb --contents` lists what it has; correct `tarball`")?;
    use_it(&found)
}

/// The last part of a path.
pub fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use tar::{Builder, EntryType, Header};

    /// What a tarball's member is called, what it is, and what a link of it leads to.
    type Member<'a> = (&'a str, EntryType, &'a str);

    fn tarball_of(members: &[Member<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, target) in members {
            let mut header = Header::new_gnu();
            // The crate's own setter refuses what is tried here.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o6755);
            header.set_size(0);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// Unpacks a tarball into `tree`, next to a folder `outside` with a file in it.
    fn unpacked(root: &Path, packed: &[u8]) -> Result<()> {
        fs::create_dir(root.join("outside"))?;
        fs::write(root.join("outside/victim"), "whole")?;
        fs::write(root.join("it.tar"), packed)?;
        let cache = Cache::at(&root.join("cache"))?;
        let file = root.join("it.tar");
        source(&file, &root.join("tree"), &cache, &Progress::detect())
    }

    #[test]
    fn tarballs_that_lead_out_of_their_folder_are_refused() {
        use EntryType::{Block, Char, Fifo, Link, Regular, Symlink};
        let outside = [
            &[("s/../../outside/x", Regular, "")][..],
            &[("s/link", Symlink, "../outside"), ("s/link/x", Regular, "")],
            &[("s/link", Symlink, "/etc/passwd")],
            &[("s/d/link", Symlink, "../../outside")],
            &[("s/l", Symlink, "."), ("s/link", Symlink, "l/../outside")],
            &[("s/link", Link, "../outside/victim")],
            &[("s/fifo", Fifo, "")],
            // Only root can make these; others fail in trying.
            &[("s/null", Char, "")],
            &[("s/disk", Block, "")],
        ];
        for members in outside {
            let root = tempfile::tempdir().unwrap();
            let error = unpacked(root.path(), &tarball_of(members)).expect_err(members[0].0);
            let text = format!("{error:#}");
            assert!(text.contains("it.tar"), "{text}");
            let left = fs::read_dir(root.path().join("outside")).unwrap().count();
            assert_eq!(left, 1, "{members:?}");
        }
    }

    #[test]
    fn links_within_a_source_stay_and_rights_beyond_rwx_do_not() {
        use EntryType::{Link, Regular, Symlink};
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let members = [
            ("s/d/file", Regular, ""),
            ("s/d/link", Symlink, "../d/file"),
            ("s/hard", Link, "s/d/file"),
        ];
        unpacked(root.path(), &tarball_of(&members)).unwrap();
        let tree = root.path().join("tree");
        assert!(tree.join("d/link").is_file() && tree.join("hard").is_file());
        let mode = fs::metadata(tree.join("d/file")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7111, 0o111, "{:o}", mode.mode());
    }

    #[test]
    fn a_tarball_that_unpacks_without_end_is_cut_off() {
        let root = tempfile::tempdir().unwrap();
        let plain = root.path().join("zeros");
        File::create(&plain).unwrap().set_len(256 << 20).unwrap();
        let job = Job::new("tar", UNPACK_LIMIT).dir(root.path());
        job.args(["--create", "--gzip", "--file=it.tar", "zeros"])
            .run_checked()
            .unwrap();
        let packed = fs::read(root.path().join("it.tar")).unwrap();
        let error = unpacked(root.path(), &packed).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("it unpacks to more than"), "{text}");
    }
}
