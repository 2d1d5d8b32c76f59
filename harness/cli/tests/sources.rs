//! Kernels out of git repositories, source packages and binary packages, all made here: what is in
//! them comes out, and what is broken, hostile or not understood is said.

mod made_up;

use std::fs;
use std::path::Path;

use made_up::{FIX, Place, shell};

/// A bzImage as far as its header goes: it names its release.
fn image(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let version = format!("{release} (made up) #1");
    image[0x300..0x300 + version.len()].copy_from_slice(version.as_bytes());
    image
}

const RELEASE: &str = "6.99.0-9-made-up";

/// The files of a kernel package below `root`, with a real System.map or Debian's stub.
fn package_files(place: &Place, root: &str, map: &str) {
    let boot = |name: &str| format!("{root}/boot/{name}-{RELEASE}");
    place.write_bytes(&boot("vmlinuz"), &image(RELEASE));
    place.write(&boot("config"), "CONFIG_NUMA=y\n");
    place.write(&boot("System.map"), map);
    place.write(&format!("{root}/lib/modules/{RELEASE}/modules.dep"), "");
    shell(
        &place.path(root),
        &format!("ln -s /usr/src/headers lib/modules/{RELEASE}/build"),
    );
}

fn map_text() -> String {
    "ffffffff81000000 T _text\n".repeat(200)
}

/// A Debian package of the folder `root`, by the real tool.
fn deb(place: &Place, root: &str, compression: &str) {
    place.write(
        &format!("{root}/DEBIAN/control"),
        "Package: linux-image-made-up\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@x>\nDescription: x\n",
    );
    place.write(&format!("{root}/DEBIAN/postinst"), "#!/bin/sh\nexit 1\n");
    shell(place.root(), &format!("chmod 755 {root}/DEBIAN/postinst"));
    shell(
        place.root(),
        &format!("dpkg-deb --root-owner-group -Z{compression} --build {root} kernel.deb"),
    );
}

fn read(value: &serde_json::Value) -> Vec<u8> {
    fs::read(value.as_str().unwrap()).unwrap()
}

#[test]
fn a_debian_package_is_taken_as_it_is() {
    for compression in ["xz", "gzip", "zstd", "none"] {
        let place = Place::new();
        package_files(&place, "root", &map_text());
        deb(&place, "root", compression);
        place.binary("deb: {path: ../kernel.deb}");
        let built = place.built(&[]);
        assert_eq!(built["release"], RELEASE);
        assert_eq!(read(&built["bzimage"]), image(RELEASE));
        assert_eq!(read(&built["config"]), b"CONFIG_NUMA=y\n");
        assert_eq!(read(&built["system_map"]), map_text().as_bytes());
        assert!(built["compiler"].is_null() && built["vmlinux"].is_null());
        let log = String::from_utf8(read(&built["log"])).unwrap();
        assert!(
            log.contains("taken as it is") && log.contains("boot/vmlinuz-"),
            "{log}"
        );
        assert_eq!(place.built(&[])["from_cache"], true);
    }
}

#[test]
fn debians_stub_counts_as_no_symbols_and_boot_prints_the_line() {
    let place = Place::new();
    package_files(
        &place,
        "root",
        "ffffffffffffffff B The real System.map is in the dbg package\n",
    );
    deb(&place, "root", "xz");
    place.binary("deb: {path: ../kernel.deb}");
    let built = place.built(&[]);
    assert!(built["system_map"].is_null(), "{built}");
    let output = place.kverdict(&["boot", "tiny", "--dry-run"]);
    let line = String::from_utf8_lossy(&output.stdout);
    let image = built["bzimage"].as_str().unwrap();
    assert!(
        line.contains("qemu-system-x86_64") && line.contains(image),
        "{line}"
    );
}

/// An ELF file for x86-64 whose only segment is one note of Xen's, of this kind.
fn elf(kind: u8) -> Vec<u8> {
    let mut file = vec![0; 144];
    let parts: [(usize, &[u8]); 9] = [
        (0, b"\x7fELF\x02\x01\x01"),
        (16, &[2, 0, 62, 0, 1]),
        (32, &[64]),
        (52, &[64, 0, 56, 0, 1, 0, 64]),
        (64, &[4, 0, 0, 0, 4, 0, 0, 0, 120]),
        (96, &[24, 0, 0, 0, 0, 0, 0, 0, 24]),
        (112, &[4]),
        (120, &[4, 0, 0, 0, 8, 0, 0, 0, kind]),
        (132, b"Xen\0\0\0\0\x01"),
    ];
    for (at, bytes) in parts {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    file
}

/// A bzImage with that kernel in it, which its compressor left as it is.
fn image_with(kernel: &[u8]) -> Vec<u8> {
    let mut image = image(RELEASE);
    image[0x1f1] = 1;
    image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    let offset = image.len() as u32 - 0x400;
    image[0x248..0x24c].copy_from_slice(&offset.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(kernel.len() as u32).to_le_bytes());
    image.extend(kernel);
    image
}

#[test]
fn a_kernel_with_a_pvh_entry_is_kept_unpacked_and_boots_so() {
    const PHYS32_ENTRY: u8 = 18;
    for (kind, unpacked) in [(PHYS32_ENTRY, true), (1, false)] {
        let place = Place::new();
        let kernel = elf(kind);
        place.write_bytes("vmlinuz", &image_with(&kernel));
        place.binary("image: {kernel: {path: ../vmlinuz}}");
        let built = place.built(&[]);
        let booted = if unpacked {
            assert_eq!(read(&built["elf"]), kernel);
            &built["elf"]
        } else {
            assert!(built["elf"].is_null(), "{built}");
            &built["bzimage"]
        };
        let output = place.kverdict(&["boot", "tiny", "--dry-run"]);
        let line = String::from_utf8_lossy(&output.stdout);
        let asked = format!("-kernel {}", booted.as_str().unwrap());
        assert!(line.contains(&asked), "{line}");
    }
}

#[test]
fn an_rpm_package_is_taken_as_it_is() {
    for (payload, folder) in [
        ("w2.xzdio", "boot"),
        ("w3.zstdio", "boot"),
        ("w9.gzdio", "newer"),
        ("w9.bzdio", "boot"),
        ("w2.lzdio", "boot"),
    ] {
        let place = Place::new();
        package_files(&place, "root", &map_text());
        if folder == "newer" {
            let moves: String = ["vmlinuz", "config", "System.map"]
                .map(|name| format!("mv boot/{name}-{RELEASE} lib/modules/{RELEASE}/{name}; "))
                .concat();
            shell(&place.path("root"), &moves);
        }
        let spec = format!(
            "Name: kernel\nVersion: 6.99\nRelease: 1\nSummary: x\nLicense: x\n%define _binary_payload {payload}\n%description\nx\n%install\ncp -a {} %{{buildroot}}/\n%post\nexit 1\n%files\n/*\n",
            place.path("root/*").display()
        );
        place.rpmbuild("-bb", &spec);
        shell(place.root(), "cp rpm/RPMS/*/*.rpm kernel.rpm");
        place.binary("rpm: {path: ../kernel.rpm}");
        let built = place.built(&[]);
        assert_eq!(built["release"], RELEASE, "{payload}");
        assert_eq!(read(&built["bzimage"]), image(RELEASE));
        assert_eq!(read(&built["config"]), b"CONFIG_NUMA=y\n");
    }
}

#[test]
fn a_bare_image_may_bring_its_map_and_config() {
    let place = Place::new();
    place.write_bytes("vmlinuz", &image(RELEASE));
    place.write("map", &map_text());
    place.binary("image: {kernel: {path: ../vmlinuz}}");
    let alone = place.built(&[]);
    assert!(alone["config"].is_null() && alone["system_map"].is_null());
    place.binary("image: {kernel: {path: ../vmlinuz}, system-map: {path: ../map}}");
    let with_map = place.built(&[]);
    assert_eq!(read(&with_map["system_map"]), map_text().as_bytes());
    assert_ne!(alone["key"], with_map["key"]);

    place.write("vmlinuz", "\x7fELF");
    assert!(
        place
            .failed(&[], 131, "source")
            .contains("give the bzImage")
    );
}

#[test]
fn a_broken_package_says_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    package_files(&place, "root", &map_text());
    deb(&place, "root", "xz");
    place.binary("deb: {path: ../kernel.deb}");
    let whole = fs::read(place.path("kernel.deb")).unwrap();
    let cut = whole.len() - 200;
    let mut damaged = whole.clone();
    damaged[cut] ^= 0xff;
    for (bytes, word) in [
        (&whole[..cut], "cut off"),
        (&whole[..4], "no Debian package"),
        (&damaged[..], "xz"),
    ] {
        place.write_bytes("kernel.deb", bytes);
        let text = place.failed(&[], 131, "source");
        assert!(
            text.contains(word) && text.contains("fetch it again"),
            "{word}: {text}"
        );
        assert!(text.contains("kernel.deb"), "{text}");
    }
    place.binary("rpm: {path: ../kernel.deb}");
    assert!(place.failed(&[], 131, "source").contains("no rpm package"));
    place.binary(&format!(
        "deb: {{path: ../kernel.deb, sha256: {}}}",
        "0".repeat(64)
    ));
    assert!(place.failed(&[], 131, "source").contains("another SHA-256"));
    assert_eq!(fs::read_dir(place.path("cache/builds")).unwrap().count(), 0);
}

#[test]
fn a_package_without_a_kernel_is_told_from_one_with_it() {
    let place = Place::new();
    place.write("root/usr/share/doc/readme", "x");
    deb(&place, "root", "xz");
    place.binary("deb: {path: ../kernel.deb}");
    let text = place.failed(&[], 131, "source");
    assert!(
        text.contains("holds no kernel") && text.contains("metapackage"),
        "{text}"
    );
}

/// A tar archive as `tar` would never write it, in a Debian package.
fn hostile_deb(place: &Place, names: &[(&str, u8, &[u8])]) {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, content) in names {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if *kind == b'2' {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, *content).unwrap();
    }
    place.write_bytes("data.tar", &archive.into_inner().unwrap());
    place.write("debian-binary", "2.0\n");
    shell(
        place.root(),
        "rm -f kernel.deb; ar rc kernel.deb debian-binary data.tar",
    );
}

#[test]
fn hostile_members_are_refused_and_nothing_is_written_outside() {
    let vmlinuz = format!("./boot/vmlinuz-{RELEASE}");
    let good = image(RELEASE);
    let long_name = vec![b'x'; 10_000];
    let cases: [(&str, u8, &[u8], &str); 5] = [
        ("../escaped", b'0', b"x", "leads out of its folder"),
        (
            "/tmp/kverdict-escaped",
            b'0',
            b"x",
            "leads out of its folder",
        ),
        (
            "./boot/../../escaped",
            b'0',
            b"x",
            "leads out of its folder",
        ),
        ("././@LongLink", b'L', &long_name, "longer than"),
        ("./boot/x", b'2', b"", ""),
    ];
    for (name, kind, content, word) in cases {
        let place = Place::new();
        hostile_deb(&place, &[(&vmlinuz, b'0', &good), (name, kind, content)]);
        place.binary("deb: {path: ../kernel.deb}");
        if word.is_empty() {
            // A link that is not asked for is passed over.
            assert_eq!(place.built(&[])["release"], RELEASE);
        } else {
            let text = place.failed(&[], 131, "source");
            assert!(text.contains(word), "{name}: {text}");
        }
        assert!(!Path::new("/tmp/kverdict-escaped").exists());
        assert!(!place.path("cache/escaped").exists() && !place.path("escaped").exists());
    }
    let place = Place::new();
    hostile_deb(&place, &[(&vmlinuz, b'2', b"")]);
    place.binary("deb: {path: ../kernel.deb}");
    assert!(place.failed(&[], 131, "source").contains("holds no kernel"));
}

#[test]
fn a_binary_kernel_takes_no_patches_and_says_so_before_it_is_fetched() {
    let place = Place::new();
    place.binary("deb: {path: ../not-there.deb}");
    for (arguments, field) in [
        (["--apply", "fix.patch"], "apply: "),
        (["--revert", "fix.patch"], "revert: "),
        (["--fragment", "tiny"], "fragment: "),
        (["--option", "CONFIG_A=y"], "option: "),
        (["--tree", "tree"], "tree: "),
    ] {
        let text = place.failed(&arguments, 129, "request");
        assert!(
            text.starts_with(field) && text.contains("`tiny` is a binary kernel"),
            "{text}"
        );
    }
    let output = place.kverdict(&["verify", "--kernel", "tiny", "--catalogue", "kernels"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(129), "{text}");
    for arm in ["arms.unfixed.apply: ", "arms.fixed.apply: "] {
        assert!(text.contains(arm), "{text}");
    }
    assert!(!place.path("results").exists(), "a run was started");
}

/// A repository with the made-up kernel: `v1` as it is, `v2` with the fix.
fn repository(place: &Place) {
    let script = "git init -q -b main . && git config user.name x && git config user.email x@x && git add . && git commit -qm one && git tag -a -m t v1 && patch -sp1 <../fix.patch && git commit -qam two && git tag v2";
    shell(&place.path("tree"), script);
}

fn repository_state(place: &Place) -> String {
    shell(
        &place.path("tree"),
        "git worktree list; git status --porcelain; find . -type f | sort | xargs sha256sum",
    )
}

#[test]
fn a_commit_is_checked_out_by_tag_branch_or_id_and_the_repository_is_left_alone() {
    let place = Place::new();
    repository(&place);
    // Not committed, so not part of any commit.
    place.write("tree/kernel/b.c", "broken");
    let before = repository_state(&place);
    let id = shell(&place.path("tree"), "git rev-parse v1^{commit}");
    let mut keys = Vec::new();
    for reference in ["v1", id.trim(), "main~1", "v2", "main"] {
        place.kernel(&format!("git: {{path: ../tree, ref: '{reference}'}}"));
        let built = place.built(&[]);
        keys.push(built["key"].as_str().unwrap().to_owned());
    }
    assert_eq!(keys[0], keys[1]);
    assert_eq!(keys[0], keys[2]);
    assert_eq!(keys[3], keys[4]);
    assert_ne!(keys[0], keys[3]);
    assert_eq!(repository_state(&place), before);
    place.kernel("git: {path: ../tree, ref: v9}");
    let text = place.failed(&[], 131, "source");
    assert!(text.contains("has no commit `v9`"), "{text}");
}

#[test]
fn a_repository_behind_a_url_is_fetched_without_its_history_and_only_when_needed() {
    let place = Place::new();
    repository(&place);
    let url = format!("file://{}", place.path("tree").display());
    place.kernel(&format!("git: {{url: '{url}', ref: v1}}"));
    let first = place.built(&[]);
    let mirror = fs::read_dir(place.path("cache/git")).unwrap().flatten();
    let mirror = mirror
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .unwrap();
    let commits = shell(&mirror, "git rev-list --all --count");
    assert_eq!(commits.trim(), "1", "the history was fetched");
    place.kernel(&format!("git: {{url: '{url}', ref: v2}}"));
    let second = place.built(&[]);
    assert_ne!(first["key"], second["key"]);
    assert_eq!(second["objects_compiled"], 2);

    place.kernel(&format!("git: {{url: '{url}', ref: v9}}"));
    assert!(
        place
            .failed(&[], 131, "source")
            .contains("no tag or branch `v9`")
    );
    // The other side is gone: what a name led to last still does.
    shell(place.root(), "mv tree elsewhere");
    place.kernel(&format!("git: {{url: '{url}', ref: v1}}"));
    assert_eq!(place.built(&[])["key"], first["key"]);
    place.kernel(&format!("git: {{url: '{url}', ref: main}}"));
    assert!(
        place
            .failed(&[], 131, "source")
            .contains("is the URL right")
    );
}

const SPEC: &str = "\
%define tarball 6.99-1%{?dist}
Name: kernel
Version: 6.99
Release: 1%{?dist}
Summary: x
License: x
Source0: linux-%{tarball}.tar.xz
Patch1: fix.patch
Patch2: second.patch.xz
Patch3: empty.patch
%description
x
%prep
ApplyPatch()
{
  patch -p1 -F1 -s < $RPM_SOURCE_DIR/$1
}
%setup -q -n kernel-%{tarball} -c
cd linux-%{tarball}
%patch1 -p1
ApplyPatch second.patch.xz
ApplyOptionalPatch empty.patch
chmod +x scripts/x
%build
";

/// A source rpm of the made-up kernel.
fn source_rpm(place: &Place, spec: &str) {
    let second = FIX
        .replace("return 1", "return 3")
        .replace("+\treturn 3", "+\treturn 4");
    place.write("rpm/SOURCES/fix.patch", FIX);
    place.write("rpm/SOURCES/second.patch", &second);
    place.write("rpm/SOURCES/empty.patch", "");
    let script = "xz -f rpm/SOURCES/second.patch && mkdir -p x && cp -r tree x/linux-6.99-1.el7 && tar -C x -cJf rpm/SOURCES/linux-6.99-1.el7.tar.xz linux-6.99-1.el7";
    shell(place.root(), script);
    place.rpmbuild("-bs", spec);
    shell(place.root(), "cp rpm/SRPMS/*.src.rpm kernel.src.rpm");
    place.kernel("source-rpm: {path: ../kernel.src.rpm}");
}

#[test]
fn a_source_rpm_is_patched_as_its_spec_says_and_built() {
    let place = Place::new();
    source_rpm(&place, SPEC);
    let built = place.built(&[]);
    let tree = place.cached_source(&built);
    let text = fs::read_to_string(tree.join("kernel/a.c")).unwrap();
    assert!(text.contains("return 4;"), "{text}");
    assert_eq!(built["objects"], 2);
    assert_eq!(place.built(&[])["from_cache"], true);
}

#[test]
fn a_spec_that_is_not_understood_is_refused_with_its_line() {
    let place = Place::new();
    source_rpm(&place, &SPEC.replace("chmod +x scripts/x", "quilt push -a"));
    let text = place.failed(&[], 131, "source");
    assert!(
        text.contains("kernel.spec:23: ") && text.contains("quilt"),
        "{text}"
    );

    let place = Place::new();
    source_rpm(&place, &SPEC.replace("%patch1 -p1", "%patch1 -p1 -R"));
    let text = place.failed(&[], 131, "source");
    assert!(text.contains("fix.patch does not apply"), "{text}");
}

/// A Debian source package of the made-up kernel, by hand.
fn dsc(place: &Place, orig_digest: Option<&str>) {
    place.write("debian/patches/series", "# ours\nfix.patch\n");
    place.write("debian/patches/fix.patch", FIX);
    let digests = shell(
        place.root(),
        "mv tree linux-6.99; tar -cJf l_6.99.orig.tar.xz linux-6.99; mv linux-6.99 tree; tar -cJf l_6.99-1.debian.tar.xz debian; sha256sum l_6.99.orig.tar.xz l_6.99-1.debian.tar.xz",
    );
    let digests: Vec<&str> = digests.lines().map(|line| &line[..64]).collect();
    place.write(
        "l_6.99-1.dsc",
        &format!(
            "Format: 3.0 (quilt)\nSource: linux\nVersion: 6.99-1\nChecksums-Sha256:\n {} 1 l_6.99.orig.tar.xz\n {} 1 l_6.99-1.debian.tar.xz\nFiles:\n",
            orig_digest.unwrap_or(digests[0]),
            digests[1]
        ),
    );
    place.kernel("dsc: {path: ../l_6.99-1.dsc}");
}

#[test]
fn a_debian_source_package_is_unpacked_patched_and_built() {
    let place = Place::new();
    dsc(&place, None);
    let built = place.built(&[]);
    let tree = place.cached_source(&built);
    let text = fs::read_to_string(tree.join("kernel/a.c")).unwrap();
    assert!(text.contains("return 3;"), "{text}");

    let place = Place::new();
    dsc(&place, Some(&"0".repeat(64)));
    let text = place.failed(&[], 131, "source");
    assert!(
        text.contains("another SHA-256") && text.contains("orig.tar"),
        "{text}"
    );
}

#[test]
fn the_catalogue_is_listed_and_one_kernel_explained() {
    let place = Place::new();
    place.binary("debian-image: {package: linux-image-x, suite: sid}");
    let text = |arguments: &[&str]| {
        let output = place.kverdict(arguments);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let table = text(&["kernels"]);
    let row = table
        .lines()
        .find(|line| line.starts_with("tiny "))
        .unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(
        words,
        ["tiny", "6.99", "debian-image", "unknown", "made", "up"]
    );
    assert!(table.contains("debian-source"), "{table}");

    let shown = text(&["kernels", "show", "tiny"]);
    for part in [
        "package linux-image-x of Debian's sid",
        "takes no patches",
        "known from      made up",
        "kernels/tiny.yaml",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&text(&["kernels", "show", "tiny", "--json"])).unwrap();
    assert_eq!(json["binary"]["debian-image"]["suite"], "sid");
    assert!(json["file"].as_str().unwrap().ends_with("tiny.yaml"));
}
