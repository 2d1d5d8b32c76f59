//! The real thing: a kernel as Debian built it, and Debian's 5.10 and 6.1 sources, fetched by apt,
//! built by compilers of their time, booted and classified.
//!
//! Slow, so ignored by default; `cargo xtask test` runs them.

mod support;

use support::{Run, Verify};

/// One short trial each of two kernels as they are, without the amplifier and what it is told.
fn one_trial_each(control: &str, subject: &str) -> Run {
    Verify::new()
        .replace(
            "kernel: debian-6.12\n    apply: [amplify, reintroduce-0b26351b910f]",
            &format!("kernel: {control}"),
        )
        .replace(
            "kernel: debian-6.12\n    apply: [amplify]",
            &format!("kernel: {subject}"),
        )
        .replace("    /sys/module/fair/parameters/kv_a_wait_us: 200000\n", "")
        .replace(
            "  files:\n    # The amplifier's longest waits; spent only when a partner is about to come.\n    /sys/module/fair/parameters/kv_b_wait_us: 50000\n",
            "",
        )
        .replace("load_seconds: 60", "load_seconds: 5")
        .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1")
        .run()
}

/// Both kernels booted, ran the load and were judged; one trial proves nothing.
fn check(run: &Run, releases: &[&str]) {
    assert_eq!(run.code, Some(125), "{}", run.stderr);
    let records = run.records();
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(record["outcome"], "clean", "{record:#}");
        let packets = &record["exposure"]["counters"]["packets"];
        assert!(packets.as_u64() > Some(10_000), "{record:#}");
        let console = run.trial_file(record["id"].as_str().unwrap(), "console.log");
        assert!(
            releases
                .iter()
                .any(|release| console.contains(&format!("Linux version {release}"))),
            "{:.500}",
            console
        );
    }
}

#[test]
#[ignore = "fetches and boots a real kernel"]
fn s1_a_kernel_as_debian_built_it_boots_from_its_package_alone() {
    let kernel = "debian-linux-image-6.1-cloud";
    check(&one_trial_each(kernel, kernel), &["6.1."]);
}

#[test]
#[ignore = "builds and boots real kernels"]
fn s2_debians_sources_of_this_release_and_of_an_older_one_build_and_boot() {
    // The older release's kernel by the older release's compiler, in a chroot made for it.
    let run = one_trial_each("debian-5.10\n    toolchain: bullseye-gcc-10", "debian-6.1");
    check(&run, &["5.10.", "6.1."]);
    let records = run.records();
    let of_control = records.iter().find(|record| record["arm"] == "unfixed");
    let trial = of_control.unwrap()["id"].as_str().unwrap();
    let console = run.trial_file(trial, "console.log");
    assert!(console.contains("(gcc-10 (Debian 10."), "{console:.500}");
}
