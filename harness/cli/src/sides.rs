//! The sides of a comparison or a list to bisect, as they are named on the command line: kernels of the catalogue, source trees,
//! packages and images, each perhaps with patches; and the campaign that they are compared under.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Result;
use kverdict_core::campaign::{Arm, Campaign, Role};
use kverdict_core::catalogue::binary::{BinarySpec, ImageSource};
use kverdict_core::catalogue::file::FileSource;
use kverdict_core::catalogue::kernel::{FixKnowledge, FixState, KernelSpec, Origin};
use kverdict_core::catalogue::patch::PatchKind;
use kverdict_core::compare::report::name_of;
use kverdict_core::inspect::boot_image::is_boot_image;
use serde::{Deserialize, Serialize};

use crate::build::cache::Cache;
use crate::build::overlay::{Misfit, work_out};
use crate::build::{BuildFailure, source};
use crate::campaigns;
use crate::catalogue::Catalogue;
use crate::commands::Usage;
use crate::layout::RunDir;
use crate::progress::Progress;
use crate::store;

/// Under which kernels with source are compared.
const AMPLIFIED: &str = "migrate-swap";
/// Under which those are that boot as they are.
const UNMODIFIED: &str = "unmodified";

/// From v5.8 on, and until a fix that stable kernels have since, the waker of a stopper that is about to sleep
/// queues the wake-up and does not spin: the race would be out of reach. Nobody knows which a file is, so it is
/// set for all sides; where it makes no difference to the race it does no harm.
const SPIN_IN_WAKE_UPS: &str = "NO_TTWU_QUEUE";

/// Where a side's kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The catalogue.
    Catalogue,
    /// A source tree, built as the catalogue's kernel is.
    Tree(PathBuf),
    /// A package or an image.
    File(PathBuf),
}

/// One side as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideSpec {
    /// Name of its arm: `a`, `b` and so on.
    pub name: String,
    /// Name of its kernel in the catalogue, or of the one made up for a file.
    pub kernel: String,
    /// Where that comes from.
    pub place: Place,
    /// Patches put in, without the campaign's amplifier.
    pub apply: Vec<String>,
    /// Patches taken out.
    pub revert: Vec<String>,
    /// What people call it.
    pub label: String,
}

/// A patch and the letter of the side that it is for, as `PATCH@SIDE`.
#[derive(Debug, Clone)]
pub struct SidePatch {
    patch: String,
    side: String,
}

/// `PATCH@SIDE`
///
/// # Errors
/// When there is no `@`.
pub fn side_patch(text: &str) -> Result<SidePatch, String> {
    let (patch, side) = text
        .rsplit_once('@')
        .ok_or("write the patch, `@`, and the side's letter, such as reintroduce-0b26351b910f@B")?;
    Ok(SidePatch {
        patch: patch.to_owned(),
        side: side.to_lowercase(),
    })
}

/// Reads the sides.
///
/// # Errors
/// All that is wrong with what was named, together.
pub fn read(
    words: &[String],
    apply: &[SidePatch],
    revert: &[SidePatch],
    catalogue: &Catalogue,
) -> Result<Vec<SideSpec>> {
    let known = catalogue.kernel_names()?;
    let (mut sides, mut wrong) = (Vec::new(), Vec::new());
    for (index, word) in words.iter().enumerate() {
        match read_side(index, word, &known) {
            Ok(side) => sides.push(side),
            Err(why) => wrong.push(why),
        }
    }
    if !wrong.is_empty() {
        return Err(Usage(wrong.join("\n")).into());
    }
    for (sign, patches) in [('+', apply), ('-', revert)] {
        for SidePatch { patch, side } in patches {
            let Some(found) = sides.iter_mut().find(|one| one.name == *side) else {
                let last = name_of(words.len() - 1).to_uppercase();
                let text = format!("{patch}@{side}: there is no such side; they are A to {last}");
                return Err(Usage(text).into());
            };
            found.label += &format!(" {sign}{patch}");
            let list = match sign {
                '+' => &mut found.apply,
                _ => &mut found.revert,
            };
            list.push(whole_path(patch)?);
        }
    }
    Ok(sides)
}

/// A patch that is a path, whole, so that a run can be gone on with from another folder; or its name.
fn whole_path(patch: &str) -> Result<String> {
    let path = Path::new(patch);
    if path.is_file() || path.join("patch.yaml").is_file() {
        return Ok(fs::canonicalize(path)?.display().to_string());
    }
    Ok(patch.to_owned())
}

fn read_side(index: usize, word: &str, known: &[String]) -> Result<SideSpec, String> {
    let name = name_of(index);
    let path = Path::new(word);
    let whole = |path: &Path| fs::canonicalize(path).map_err(|error| format!("{word}: {error}"));
    let (kernel, place) = if known.iter().any(|one| one == word) {
        (word.to_owned(), Place::Catalogue)
    } else if path.is_dir() {
        return Err(format!(
            "{word} is a folder: write KERNEL={word}, with the kernel of the catalogue whose configuration and compiler it \
             is to be built with"
        ));
    } else if path.is_file() {
        (format!("compare-{name}"), Place::File(whole(path)?))
    } else if let Some((kernel, tree)) = word.split_once('=') {
        if !known.iter().any(|one| one == kernel) {
            return Err(format!("{word}: {}", unknown(kernel, known)));
        }
        if !Path::new(tree).is_dir() {
            return Err(format!("{word}: there is no folder {tree}"));
        }
        (kernel.to_owned(), Place::Tree(whole(Path::new(tree))?))
    } else {
        return Err(format!(
            "there is no file `{word}` either: {}",
            unknown(word, known)
        ));
    };
    if let Place::File(path) = &place {
        kind_of(path)?;
    }
    Ok(SideSpec {
        name,
        kernel,
        place,
        apply: Vec::new(),
        revert: Vec::new(),
        label: word.to_owned(),
    })
}

fn unknown(kernel: &str, known: &[String]) -> String {
    format!(
        "the catalogue has no kernel `{kernel}`; known: {}",
        known.join(", ")
    )
}

/// What kind of kernel a file is.
fn kind_of(path: &Path) -> Result<BinarySpec, String> {
    let shown = path.display();
    let mut start = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(4096).read_to_end(&mut start))
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    let file = || here(path);
    if start.starts_with(b"!<arch>\n") {
        Ok(BinarySpec::Deb(file()))
    } else if start.starts_with(&[0xed, 0xab, 0xee, 0xdb]) {
        Ok(BinarySpec::Rpm(file()))
    } else if is_boot_image(&start) {
        Ok(BinarySpec::Image(ImageSource {
            kernel: file(),
            system_map: beside(path, "System.map"),
            config: beside(path, "config"),
        }))
    } else {
        Err(format!(
            "{shown} is no kernel that boots: expected a .deb, an .rpm, or a bzImage (vmlinuz)"
        ))
    }
}

fn here(path: &Path) -> FileSource {
    FileSource {
        path: Some(path.display().to_string()),
        url: None,
        sha256: None,
    }
}

/// What lies beside an image and belongs to it, as in /boot: `System.map-6.12` to `vmlinuz-6.12`; or without
/// a release, where the image has none.
fn beside(image: &Path, what: &str) -> Option<FileSource> {
    let name = image.file_name()?.to_str()?;
    let name = match name.split_once('-') {
        Some((_, release)) => format!("{what}-{release}"),
        None => what.to_owned(),
    };
    let path = image.with_file_name(name);
    path.is_file().then(|| here(&path))
}

/// The name of the campaign that sides are compared under when none is asked for: the amplified one if all
/// have source that its amplifier fits, so that all carry the same.
///
/// # Errors
/// When a source cannot be had or read.
pub fn campaign_for(
    sides: &[SideSpec],
    catalogue: &Catalogue,
    cache: &Cache,
    progress: &Progress,
) -> Result<&'static str> {
    let campaign = campaigns::load(AMPLIFIED)?;
    let amplifiers = amplifier_patches(&campaign, catalogue)?;
    let mut trees: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for side in sides {
        let kernel = match &side.place {
            Place::Catalogue | Place::Tree(_) => catalogue.kernel(&side.kernel)?,
            Place::File(_) => return Ok(UNMODIFIED),
        };
        let Origin::Source(recipe) = &kernel.spec.origin else {
            return Ok(UNMODIFIED);
        };
        let folder = kernel.folder.as_deref();
        let source = match &side.place {
            Place::Tree(tree) => source::local_tree(tree, cache, progress),
            Place::Catalogue | Place::File(_) => {
                source::obtain(&recipe.source, folder, cache, progress)
            }
        }
        .map_err(BuildFailure::Source)?;
        let fits = match trees.get(&source.root) {
            Some(fits) => *fits,
            None => fits(&source.root, &amplifiers, catalogue, cache, progress)?,
        };
        if !fits {
            progress.line(format!(
                "the amplifier does not fit {}: comparing without, under `{UNMODIFIED}`",
                side.label
            ));
            return Ok(UNMODIFIED);
        }
        trees.insert(source.root, fits);
    }
    Ok(AMPLIFIED)
}

/// Whether patches fit a source tree.
fn fits(
    root: &Path,
    patches: &[String],
    catalogue: &Catalogue,
    cache: &Cache,
    progress: &Progress,
) -> Result<bool> {
    let patches: Vec<_> = patches
        .iter()
        .map(|name| catalogue.patch(name))
        .collect::<Result<_>>()?;
    let scratch = cache.scratch()?;
    let _task = progress.task("trying the amplifier", 0);
    match work_out(root, scratch.path(), &cache.rule_results(), &[], &patches) {
        Ok(_) => Ok(true),
        Err(error) if error.is::<Misfit>() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Amplifiers that every arm of a campaign has compiled in.
fn amplifier_patches(campaign: &Campaign, catalogue: &Catalogue) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let Some(first) = campaign.arms.values().next() else {
        return Ok(found);
    };
    for name in &first.apply {
        let everywhere = campaign.arms.values().all(|arm| arm.apply.contains(name));
        if everywhere && catalogue.patch(name)?.kind == Some(PatchKind::Amplify) {
            found.push(name.clone());
        }
    }
    Ok(found)
}

/// Puts the sides into a campaign in place of its arms; what its arms have in common to amplify stays.
///
/// # Errors
/// When a side cannot carry that, or has patches that no catalogue has.
pub fn put_into(campaign: &mut Campaign, sides: &[SideSpec], catalogue: &Catalogue) -> Result<()> {
    let amplifiers = amplifier_patches(campaign, catalogue)?;
    let arm = |side: &SideSpec| {
        let role = if side.name == name_of(0) {
            Role::Control
        } else {
            Role::Subject
        };
        let tree = match &side.place {
            Place::Tree(path) => Some(path.display().to_string()),
            Place::Catalogue | Place::File(_) => None,
        };
        Arm {
            role,
            kernel: side.kernel.clone(),
            tree,
            toolchain: None,
            apply: amplifiers.iter().chain(&side.apply).cloned().collect(),
            revert: side.revert.clone(),
        }
    };
    campaign.arms = sides
        .iter()
        .map(|side| (side.name.clone(), arm(side)))
        .collect();
    let arms = sides.iter().map(|side| (side.name.as_str(), side));
    check_arms(campaign, arms, "compare", catalogue)
}

/// Holds arms against the catalogue, but for those whose kernels are files: they are in no catalogue yet, and
/// no patch goes into them.
///
/// # Errors
/// A patch that an arm cannot carry, or all names that the catalogue does not have.
pub fn check_arms<'a>(
    campaign: &Campaign,
    arms: impl Iterator<Item = (&'a str, &'a SideSpec)>,
    file: &str,
    catalogue: &Catalogue,
) -> Result<()> {
    let mut in_catalogue = campaign.clone();
    for (arm, side) in arms {
        let Place::File(path) = &side.place else {
            continue;
        };
        let arm = in_catalogue.arms.remove(arm);
        if let Some(patch) = arm.as_ref().and_then(|arm| arm.apply.first()) {
            return Err(Usage(format!(
                "{} is a binary: the patch {patch} cannot go into it; take a campaign without, such as \
                 --campaign {UNMODIFIED}",
                path.display()
            ))
            .into());
        }
    }
    campaigns::check_names(file, &in_catalogue, catalogue)
}

/// Writes kernels of the catalogue for the sides that are files, into the run's folder, from which
/// [`catalogue_of`] takes them.
///
/// # Errors
/// When a file is gone, or the folder cannot be written.
pub fn write_kernels(sides: &[SideSpec], run: &RunDir) -> Result<()> {
    for side in sides {
        if let Place::File(path) = &side.place {
            write_kernel(&file_kernel(&side.kernel, path).map_err(Usage)?, run)?;
        }
    }
    Ok(())
}

/// A kernel of the catalogue, made up for a file.
///
/// # Errors
/// When the file is gone, or no kernel that boots.
pub fn file_kernel(name: &str, path: &Path) -> Result<KernelSpec, String> {
    Ok(KernelSpec {
        name: name.to_owned(),
        about: format!("a file that was named: {}", path.display()),
        era: "unknown".to_owned(),
        origin: Origin::Binary(kind_of(path)?),
        sched_features: vec![SPIN_IN_WAKE_UPS.to_owned()],
        fix: FixKnowledge {
            state: FixState::Unknown,
            from: "nobody looked".to_owned(),
        },
    })
}

/// Writes a kernel into a run's folder, from which [`catalogue_of`] takes it.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_kernel(kernel: &KernelSpec, run: &RunDir) -> Result<()> {
    let text = serde_yaml::to_string(kernel)?;
    store::replace(&run.kernel(&kernel.name), text.as_bytes())
}

/// The catalogue with the kernels of a run.
///
/// # Errors
/// When a folder is not there.
pub fn catalogue_of(folders: &[PathBuf], run: &RunDir) -> Result<Catalogue> {
    let mut folders = folders.to_vec();
    folders.extend(Some(run.kernels()).filter(|folder| folder.is_dir()));
    Catalogue::open(&folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_a_kernel_a_tree_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::write(path("k.rpm"), [0xed, 0xab, 0xee, 0xdb, 3]).unwrap();
        fs::write(path("notes"), "text").unwrap();
        let known = ["k".to_owned()];
        let place = |word: &str| read_side(1, word, &known).map(|side| (side.kernel, side.place));
        assert_eq!(place("k"), Ok(("k".to_owned(), Place::Catalogue)));
        let tree = dir.path().canonicalize().unwrap();
        let word = format!("k={}", dir.path().display());
        assert_eq!(
            place(&word),
            Ok(("k".to_owned(), Place::Tree(tree.clone())))
        );
        let rpm = Place::File(tree.join("k.rpm"));
        assert_eq!(place(&path("k.rpm")), Ok(("compare-b".to_owned(), rpm)));
        for (word, why) in [
            ("nothing".to_owned(), "known: k"),
            (path(""), "write KERNEL="),
            (path("notes"), "no kernel that boots"),
            ("x=/".to_owned(), "has no kernel `x`"),
            ("k=/no/where".to_owned(), "there is no folder"),
        ] {
            let error = place(&word).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_image_finds_what_belongs_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("System.map-6.12"), "").unwrap();
        fs::write(path("config"), "").unwrap();
        let map = beside(&path("vmlinuz-6.12"), "System.map").unwrap();
        assert!(map.path.unwrap().ends_with("System.map-6.12"));
        assert_eq!(beside(&path("vmlinuz-6.13"), "System.map"), None);
        assert!(beside(&path("bzImage"), "config").is_some());
        assert_eq!(beside(&path("bzImage"), "System.map"), None);
    }
}
