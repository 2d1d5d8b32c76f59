//! Where kernels, fragments and patches are found: the ones embedded in the program, `./kernels` of
//! the current folder, and folders given on the command line; later ones win by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use include_dir::{Dir, include_dir};
use kverdict_core::catalogue::condition::Condition;
use kverdict_core::catalogue::kernel::Origin;
use kverdict_core::catalogue::key::sha256_hex;
use kverdict_core::catalogue::patch::{PatchKind, Step};
use kverdict_core::catalogue::{
    AmplifierSpec, Fragment, KernelSpec, PatchSpec, Problem, Problems, ToolchainSpec,
};
use kverdict_core::inspect::fix::Fix;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../kernels");

/// One folder of the catalogue.
#[derive(Debug, Clone)]
enum Root {
    Embedded,
    Folder(PathBuf),
}

/// All folders of the catalogue; later ones win.
#[derive(Debug, Clone)]
pub struct Catalogue {
    roots: Vec<Root>,
}

/// A kernel and where its file is.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// What the file says.
    pub spec: KernelSpec,
    /// The file, as shown to users.
    pub file: String,
    /// The folder that relative paths in it start from; none for an embedded one.
    pub folder: Option<PathBuf>,
}

/// A toolchain and where its file is.
#[derive(Debug, Clone)]
pub struct FoundToolchain {
    /// What the file says.
    pub spec: ToolchainSpec,
    /// The folder that relative paths in it start from; none for an embedded one.
    pub folder: Option<PathBuf>,
}

/// A patch with all its files read.
#[derive(Debug, Clone)]
pub struct Patch {
    /// Its name, or the path of a plain diff.
    pub name: String,
    /// What it is for; a plain diff does not say.
    pub kind: Option<PatchKind>,
    /// Why it exists, in a line; a plain diff does not say.
    pub reason: String,
    /// When it is needed; only of those that are put in by themselves.
    pub when: Vec<Condition>,
    /// Steps with the content of the file that each one uses.
    pub steps: Vec<(Step, Vec<u8>)>,
    /// Digest of everything that decides what it does.
    pub digest: String,
}

impl Kernel {
    /// Why it cannot be changed by what is asked for, such as patches; none when it can.
    pub fn refusal(&self, asked: &[String]) -> Option<String> {
        match &self.spec.origin {
            Origin::Source(_) => None,
            Origin::Binary(_) if asked.is_empty() => None,
            Origin::Binary(_) => Some(format!(
                "`{}` is a binary kernel, which boots as it is: {} cannot go into it; name a kernel with source, or leave this out",
                self.spec.name,
                asked.join(", ")
            )),
        }
    }
}

impl Root {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Embedded => Ok(EMBEDDED.get_file(path).map(|file| file.contents().to_vec())),
            Self::Folder(folder) => {
                let path = folder.join(path);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => {
                        Err(error).with_context(|| format!("cannot read {}", path.display()))
                    }
                }
            }
        }
    }

    fn names(&self, folder: &str) -> Result<Vec<String>> {
        match self {
            Self::Embedded => {
                let dir = if folder.is_empty() {
                    Some(&EMBEDDED)
                } else {
                    EMBEDDED.get_dir(folder)
                };
                let entries = dir.map(Dir::entries).unwrap_or_default();
                Ok(entries
                    .iter()
                    .filter_map(|entry| entry.path().file_name()?.to_str().map(str::to_owned))
                    .collect())
            }
            Self::Folder(root) => {
                let path = root.join(folder);
                if !path.is_dir() {
                    return Ok(Vec::new());
                }
                let entries = fs::read_dir(&path)
                    .with_context(|| format!("cannot list {}", path.display()))?;
                entries
                    .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                    .collect()
            }
        }
    }

    fn shown(&self, path: &str) -> String {
        match self {
            Self::Embedded => format!("(embedded) kernels/{path}"),
            Self::Folder(folder) => folder.join(path).display().to_string(),
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded => None,
            Self::Folder(folder) => Some(folder.clone()),
        }
    }
}

impl Catalogue {
    /// The embedded catalogue, `./kernels` when there is one, and `extra` folders.
    ///
    /// # Errors
    /// When an extra folder is not there.
    pub fn open(extra: &[PathBuf]) -> Result<Self> {
        let mut roots = vec![Root::Embedded];
        let here = Path::new("kernels");
        if here.is_dir() {
            roots.push(Root::Folder(here.to_owned()));
        }
        for folder in extra {
            if !folder.is_dir() {
                bail!("the catalogue folder {} does not exist", folder.display());
            }
            roots.push(Root::Folder(folder.clone()));
        }
        Ok(Self { roots })
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// When there is none (lists the known ones), or its file is wrong.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let path = format!("{name}.yaml");
        let Some((root, text)) = self.find(&path)? else {
            bail!(
                "there is no kernel `{name}`; known: {}; give a folder with {path} by --catalogue",
                self.kernel_names()?.join(", ")
            );
        };
        Ok(parse_kernel(root, &path, &text)?)
    }

    /// Every kernel, by name.
    ///
    /// # Errors
    /// The problems of all files together.
    pub fn kernels(&self) -> Result<Vec<Kernel>> {
        let mut kernels = Vec::new();
        let mut problems = Vec::new();
        for name in self.kernel_names()? {
            let path = format!("{name}.yaml");
            let Some((root, text)) = self.find(&path)? else {
                continue;
            };
            match parse_kernel(root, &path, &text) {
                Ok(kernel) => kernels.push(kernel),
                Err(found) => problems.extend(found.0),
            }
        }
        if problems.is_empty() {
            return Ok(kernels);
        }
        Err(Problems(problems).into())
    }

    /// Names of all kernels.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn kernel_names(&self) -> Result<Vec<String>> {
        self.names_with("", ".yaml")
    }

    /// The fragment of that name (`fragments/NAME.config`).
    ///
    /// # Errors
    /// When there is none (lists the known ones), or it is wrong.
    pub fn fragment(&self, name: &str) -> Result<Fragment> {
        let path = format!("fragments/{name}.config");
        let Some((root, text)) = self.find(&path)? else {
            bail!(
                "there is no config fragment `{name}`; known: {}",
                self.names_with("fragments", ".config")?.join(", ")
            );
        };
        Ok(Fragment::parse(&root.shown(&path), &text_of(&text))?)
    }

    /// The patch of that name (`patches/NAME/patch.yaml`), or a plain diff or patch folder when the
    /// word is a path.
    ///
    /// # Errors
    /// When there is none (lists the known ones), or it is wrong.
    pub fn patch(&self, word: &str) -> Result<Patch> {
        let path = Path::new(word);
        if word.ends_with(".patch") || word.ends_with(".diff") {
            return plain_diff(word);
        }
        if path.join("patch.yaml").is_file() {
            let root = Root::Folder(path.to_owned());
            let folder = fs::canonicalize(path)?;
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            return load_patch(&root, "", &name);
        }
        let folder = format!("patches/{word}");
        for root in self.roots.iter().rev() {
            if root.read(&format!("{folder}/patch.yaml"))?.is_some() {
                return load_patch(root, &format!("{folder}/"), word);
            }
        }
        bail!(
            "there is no patch `{word}`; known: {}; a path to a .patch file or to a folder with patch.yaml does too",
            self.names_with("patches", "")?.join(", ")
        )
    }

    /// Every patch that is put into the trees that need it, by name.
    ///
    /// # Errors
    /// When one is wrong.
    pub fn compatibility_patches(&self) -> Result<Vec<Patch>> {
        let mut patches = Vec::new();
        for name in self.names_with("patches", "")? {
            // The folder may hold other files, which are no patches.
            if self.find(&format!("patches/{name}/patch.yaml"))?.is_some() {
                let patch = self.patch(&name)?;
                patches.extend((patch.kind == Some(PatchKind::Compat)).then_some(patch));
            }
        }
        Ok(patches)
    }

    /// The toolchain of that name (`toolchains/NAME.yaml`).
    ///
    /// # Errors
    /// When there is none (lists the known ones), or it is wrong.
    pub fn toolchain(&self, name: &str) -> Result<FoundToolchain> {
        let path = format!("toolchains/{name}.yaml");
        let Some((root, text)) = self.find(&path)? else {
            bail!(
                "there is no toolchain `{name}`; known: {}",
                self.names_with("toolchains", ".yaml")?.join(", ")
            );
        };
        Ok(FoundToolchain {
            spec: ToolchainSpec::parse(&root.shown(&path), &text_of(&text))?,
            folder: root.folder(),
        })
    }

    /// The run-time amplifier of that name (`amplifiers/NAME.yaml`).
    ///
    /// # Errors
    /// When there is none (lists the known ones), or it is wrong.
    pub fn amplifier(&self, name: &str) -> Result<AmplifierSpec> {
        let path = format!("amplifiers/{name}.yaml");
        let Some((root, text)) = self.find(&path)? else {
            bail!(
                "there is no amplifier `{name}`; known: {}",
                self.names_with("amplifiers", ".yaml")?.join(", ")
            );
        };
        Ok(AmplifierSpec::parse(&root.shown(&path), &text_of(&text))?)
    }

    /// The fixes of these names (`fixes/NAME.yaml`), or all when none is named.
    ///
    /// # Errors
    /// When there is none of a name (lists the known ones), or one is wrong.
    pub fn fixes(&self, names: &[String]) -> Result<Vec<Fix>> {
        let known = self.names_with("fixes", ".yaml")?;
        let wanted = if names.is_empty() { &known } else { names };
        let read = |name: &String| {
            let path = format!("fixes/{name}.yaml");
            let Some((root, text)) = self.find(&path)? else {
                bail!("there is no fix `{name}`; known: {}", known.join(", "));
            };
            Fix::parse(&root.shown(&path), &text_of(&text)).map_err(anyhow::Error::msg)
        };
        wanted.iter().map(read).collect()
    }

    fn find(&self, path: &str) -> Result<Option<(&Root, Vec<u8>)>> {
        for root in self.roots.iter().rev() {
            if let Some(bytes) = root.read(path)? {
                return Ok(Some((root, bytes)));
            }
        }
        Ok(None)
    }

    fn names_with(&self, folder: &str, suffix: &str) -> Result<Vec<String>> {
        let mut names = BTreeMap::new();
        for root in &self.roots {
            for name in root.names(folder)? {
                if let Some(stem) = name.strip_suffix(suffix) {
                    names.insert(stem.to_owned(), ());
                }
            }
        }
        Ok(names.into_keys().collect())
    }
}

fn parse_kernel(root: &Root, path: &str, text: &[u8]) -> Result<Kernel, Problems> {
    let file = root.shown(path);
    let spec = KernelSpec::parse(&file, &text_of(text))?;
    Ok(Kernel {
        spec,
        file,
        folder: root.folder(),
    })
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn plain_diff(word: &str) -> Result<Patch> {
    let bytes = fs::read(word).with_context(|| format!("cannot read the patch {word}"))?;
    let step = Step::Diff {
        file: word.to_owned(),
    };
    Ok(Patch {
        name: word.to_owned(),
        kind: None,
        reason: String::new(),
        when: Vec::new(),
        digest: sha256_hex(&bytes),
        steps: vec![(step, bytes)],
    })
}

fn load_patch(root: &Root, prefix: &str, name: &str) -> Result<Patch> {
    let file = root.shown(&format!("{prefix}patch.yaml"));
    let text = root
        .read(&format!("{prefix}patch.yaml"))?
        .ok_or_else(|| anyhow!("{file} is gone"))?;
    let spec = PatchSpec::parse(&file, name, &text_of(&text))?;
    let mut steps = Vec::new();
    let mut problems = Vec::new();
    for step in spec.steps {
        let Some(name) = step.file() else {
            steps.push((step, Vec::new()));
            continue;
        };
        match root.read(&format!("{prefix}{name}"))? {
            Some(bytes) => steps.push((step, bytes)),
            None => problems.push(Problem::in_file(
                &file,
                format!("steps: the file `{name}` is not in the patch's folder"),
            )),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(problems).into());
    }
    Ok(Patch {
        name: spec.name,
        kind: Some(spec.kind),
        reason: spec.reason,
        when: spec.when,
        digest: digest_of(&steps)?,
        steps,
    })
}

/// Only what decides the result counts: rewording a reason must not rebuild a kernel.
fn digest_of(steps: &[(Step, Vec<u8>)]) -> Result<String> {
    let mut text = String::new();
    for (step, bytes) in steps {
        text += &serde_json::to_string(step)?;
        text += &sha256_hex(bytes);
    }
    Ok(sha256_hex(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    const KERNEL: &str = "about: a\nera: '6.12'\nsource: {tree: {path: t}}\nfragments: [base]\nfix: {state: unknown, from: nobody looked}\n";

    #[test]
    fn all_embedded_files_are_right() {
        let catalogue = Catalogue {
            roots: vec![Root::Embedded],
        };
        for kernel in catalogue.kernels().unwrap() {
            if let Origin::Source(recipe) = kernel.spec.origin {
                for fragment in &recipe.fragments {
                    catalogue.fragment(fragment).unwrap();
                }
                for toolchain in &recipe.toolchains {
                    catalogue.toolchain(toolchain).unwrap();
                }
            }
        }
        for patch in catalogue.names_with("patches", "").unwrap() {
            if !patch.ends_with(".md") {
                catalogue.patch(&patch).unwrap();
            }
        }
    }

    #[test]
    fn a_given_folder_adds_and_overrides() {
        let text = format!("name: debian-6.12\n{KERNEL}");
        let dir = folder_with(&[
            ("debian-6.12.yaml", &text),
            ("fragments/x.config", "CONFIG_X=y\n"),
        ]);
        let catalogue = Catalogue::open(&[dir.path().to_owned()]).unwrap();
        assert_eq!(
            catalogue.kernel("debian-6.12").unwrap().folder,
            Some(dir.path().to_owned())
        );
        assert_eq!(catalogue.fragment("x").unwrap().requests().len(), 1);
        assert!(catalogue.fragment("base").is_ok());
    }

    #[test]
    fn problems_of_several_files_come_together() {
        let dir = folder_with(&[
            ("a.yaml", "name: a\n"),
            ("b.yaml", &format!("name: c\n{KERNEL}")),
        ]);
        let error = Catalogue::open(&[dir.path().to_owned()])
            .unwrap()
            .kernels()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a.yaml") && error.contains("b.yaml"),
            "{error}"
        );
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let catalogue = Catalogue::open(&[]).unwrap();
        let error = catalogue.kernel("nope").unwrap_err().to_string();
        assert!(
            error.contains("debian-6.12") && error.contains("--catalogue"),
            "{error}"
        );
    }

    #[test]
    fn a_patch_with_a_missing_file_says_which() {
        let dir = folder_with(&[(
            "patches/p/patch.yaml",
            "name: p\nkind: fix\nreason: r\nsteps:\n  - {patch: gone.patch}\n",
        )]);
        let catalogue = Catalogue::open(&[dir.path().to_owned()]).unwrap();
        let error = catalogue.patch("p").unwrap_err().to_string();
        assert!(error.contains("`gone.patch` is not in"), "{error}");
    }
}
