//! The real thing: builds Debian's kernel, boots it in QEMU, and sees it lock up.
//!
//! Slow, so ignored by default; `cargo xtask test` runs them one after the other. They share the
//! user's cache of built kernels, so the first one that runs pays for the build.

mod support;

use std::time::Duration;

use support::{Verify, qemu_processes, wait_until};

/// What a busy machine may take for a step that is made in seconds; longer where a kernel has to be built.
const SOON: Duration = Duration::from_secs(900);

/// The whole claim in small: the control locks up on the console with both sides of the deadlock,
/// the subject survives the same load, and the verdict says so.
#[test]
#[ignore = "builds and boots real kernels"]
fn t1_the_defect_locks_up_on_the_console_and_the_fix_survives() {
    // With three lockups, of which each may be reported by another CPU's soft lockup first.
    let run = Verify::new().replace("alpha: 0.01", "alpha: 0.2").run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = run.report();
    assert_eq!(report["verdict"]["conclusion"], "verified");
    let arms = &report["verdict"]["arms"];
    assert!(arms[0]["target_lockups"].as_u64() >= Some(1), "{arms:#}");
    assert_eq!(arms[1]["target_lockups"], 0, "{arms:#}");
    assert!(arms[1]["survived"].as_u64() >= Some(1), "{arms:#}");
    // The subject was in danger: both sides of the race ran, and met.
    for counter in [
        "swaps_per_minute",
        "windows_per_minute",
        "meetings_per_minute",
    ] {
        assert!(arms[1][counter].as_f64() > Some(0.0), "{counter}: {arms:#}");
    }
    // The console says so by itself, and the evidence quotes both stacks. A guest may be seen from outside
    // and ended before its own detector speaks, but not every time.
    let records = run.records();
    let says_so = |record: &serde_json::Value| {
        let console = run.trial_file(record["id"].as_str().unwrap(), "console.log");
        record["signature"] == "target" && console.contains("hard LOCKUP on cpu")
    };
    assert!(records.iter().any(says_so), "{}", run.stdout);
    let evidence = report["evidence"]["text"].as_str().unwrap();
    for function in [
        "stop_one_cpu_nowait",
        "stop_two_cpus",
        "try_to_wake_up",
        "migrate_swap",
    ] {
        assert!(
            evidence.contains(function),
            "{function} is not quoted:\n{evidence}"
        );
    }
    // Reports are a function of the records.
    let again = run.kverdict(&["report", run.dir().to_str().unwrap(), "--json"]);
    assert_eq!(again.code, Some(0));
    let again: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["verdict"], report["verdict"]);
}

/// The same kernels in the wrong roles: the "fixed" arm locks up.
#[test]
#[ignore = "boots real kernels"]
fn t2_swapped_kernels_are_refuted_and_named() {
    let run = Verify::new()
        .replace("role: control", "role: x")
        .replace("role: subject", "role: control")
        .replace("role: x", "role: subject")
        .run();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let report = run.report();
    assert_eq!(report["verdict"]["conclusion"], "refuted");
    // Only a control that was exposed and survived makes them look so.
    let control = &report["verdict"]["arms"][0];
    let survived = control["survived"].as_u64() > Some(0);
    assert_eq!(
        run.stdout.contains("look swapped"),
        survived,
        "{}",
        run.stdout
    );
}

/// kill -9 in the middle of a trial: no guest survives, nothing recorded is lost, and the run goes on.
#[test]
#[ignore = "boots real kernels"]
fn t3_a_killed_run_leaves_no_guest_and_resumes() {
    let verify = Verify::new()
        .replace("load_seconds: 60", "load_seconds: 5")
        .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1");
    let mut child = verify.spawn();
    wait_until(SOON, "the second trial runs", || {
        verify.trials().lines().count() == 1 && !qemu_processes(&verify.scratch()).is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(Duration::from_secs(5), "QEMU is gone", || {
        qemu_processes(&verify.scratch()).is_empty()
    });
    let before = verify.trials();
    let run = verify.resume();
    assert_eq!(
        run.code,
        Some(125),
        "one trial each decides nothing: {}",
        run.stderr
    );
    let after = verify.trials();
    assert!(after.starts_with(&before), "what was recorded was changed");
    assert_eq!(after.lines().count(), 2);
}

/// Ctrl-C: guests stop, records stay, and the way to go on is printed.
#[test]
#[ignore = "boots real kernels"]
fn t4_an_interrupt_stops_the_guest_and_says_how_to_go_on() {
    let verify = Verify::new();
    let child = verify.spawn();
    // One that is asked for its version is none.
    wait_until(SOON, "a guest runs", || {
        let all = qemu_processes(&verify.scratch());
        all.iter().any(|cmdline| cmdline.contains(" -kernel "))
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("--resume"), "{stderr}");
    assert!(qemu_processes(&verify.scratch()).is_empty());
}

/// Guests that are not what was asked for, and kernels that do not get there: an outcome each.
#[test]
#[ignore = "boots real kernels"]
fn t5_every_way_not_to_get_there_has_its_own_outcome() {
    let cases = [
        (
            "numa_balancing: 1",
            "numa_balancing: 0",
            "unfit",
            "numa_balancing",
        ),
        ("- lpj=3000000", "- numa=off", "unfit", "nodes"),
        ("- lpj=3000000", "- rdinit=/nowhere", "boot-failure", ""),
        ("- lpj=3000000", "- maxcpus=3", "unfit", "cpus"),
    ];
    for (from, to, outcome, word) in cases {
        let run = Verify::new()
            .without_proof_of_detectors()
            .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1")
            .replace(from, to)
            .run();
        assert_eq!(run.code, Some(125), "{to}: {}", run.stderr);
        for record in run.records() {
            assert_eq!(record["outcome"], outcome, "{to}: {}", record["title"]);
            assert!(
                record["title"].as_str().unwrap().contains(word),
                "{to}: {}",
                record["title"]
            );
        }
        assert!(qemu_processes(run.dir()).is_empty(), "{to}");
    }
}

/// The agent's words are stored as they came, hello first, and the heartbeats count.
#[test]
#[ignore = "boots real kernels"]
fn t6_the_agent_reports_and_its_words_are_kept() {
    let run = Verify::new()
        .replace("load_seconds: 60", "load_seconds: 8")
        .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1")
        .run();
    let records = run.records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert!(
            record["timing"]["hello_ms"].as_u64() > Some(0),
            "{record:#}"
        );
        let exposure = &record["exposure"];
        // The other arm may deadlock after a second.
        if record["arm"] == "fixed" {
            assert!(exposure["heartbeats"].as_u64() >= Some(2), "{record:#}");
            let packets = &exposure["counters"]["packets"];
            assert!(packets.as_u64() > Some(10_000), "{record:#}");
        }
        // Our own kernels have the entry, so that none of them spends its boot unpacking itself.
        let argv = run.trial_file(record["id"].as_str().unwrap(), "qemu.argv");
        assert!(argv.contains("/vmlinux -initrd"), "{argv}");
        let agent = run.trial_file(record["id"].as_str().unwrap(), "agent.jsonl");
        // The last line of a guest that was killed may be cut short.
        let whole = agent
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let types: Vec<String> = whole
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["type"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(types[0], "hello");
        for kind in ["armed", "load-started"] {
            assert!(
                types.iter().any(|t| t == kind),
                "{kind} is missing in {types:?}"
            );
        }
    }
}

/// A guest that floods its console is cut off, in little memory, and is an outcome of its own.
#[test]
#[ignore = "needs a built kernel"]
fn t7_a_console_that_floods_is_cut_off() {
    let run = Verify::new()
        .without_proof_of_detectors()
        .replace("accelerator: auto", "accelerator: tcg")
        .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1")
        .with_fake_qemu("head -c 104857600 /dev/urandom > console.log; exec sleep 1000")
        .run();
    assert_eq!(run.code, Some(125), "{}", run.stderr);
    for record in run.records() {
        assert_eq!(record["outcome"], "console-flood", "{}", record["title"]);
    }
}

/// A QEMU that fails says nothing about a kernel, and a campaign does not go on forever with it.
#[test]
#[ignore = "needs a built kernel"]
fn t8_a_qemu_that_fails_is_infrastructure() {
    let run = Verify::new()
        .without_proof_of_detectors()
        .replace("accelerator: auto", "accelerator: tcg")
        .with_fake_qemu("echo 'cannot set up guest memory' >&2; exit 1")
        .run();
    assert_eq!(run.code, Some(125), "{}", run.stderr);
    let records = run.records();
    assert_eq!(records.len(), 3, "the campaign gives up after three");
    for record in records {
        assert_eq!(record["outcome"], "infrastructure");
        assert!(
            record["title"]
                .as_str()
                .unwrap()
                .contains("cannot set up guest memory"),
            "{record:#}"
        );
    }
}

/// The normal case in virtual machines: no detector in the guest is armed, and the console says
/// nothing. The deadlock is found from outside, with both sides and the cycle between them.
#[test]
#[ignore = "boots real kernels"]
fn t9_a_silent_deadlock_is_found_from_outside() {
    let run = Verify::new()
        .replace("    kernel.watchdog_thresh: 4 # seconds; the buddy detector needs two to three times this\n", "")
        .replace("    kernel.hardlockup_all_cpu_backtrace: 1\n    kernel.softlockup_all_cpu_backtrace: 1\n", "")
        .replace(
            "- lpj=3000000",
            "- nowatchdog\n    - rcupdate.rcu_cpu_stall_suppress=1\n    - quiet\n    - loglevel=1\n    - lpj=3000000",
        )
        .replace("load_seconds: 60", "load_seconds: 30")
        .replace("min_control_lockups: 3", "min_control_lockups: 1")
        .replace("alpha: 0.01", "alpha: 0.2")
        .run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report = run.report();
    for arming in report["armings"].as_array().unwrap() {
        let fired: Vec<&str> = arming["fired"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fired| fired["detector"].as_str().unwrap())
            .collect();
        assert_eq!(fired, ["outside"], "{arming:#}");
    }
    let records = run.records();
    // Not every sample shows who holds what.
    let proven = |one: &&serde_json::Value| {
        one["signature"] == "target" && one["outside"]["signature"]["proven"] == true
    };
    let lockup = records.iter().find(proven).expect("a proven deadlock");
    assert!(
        lockup["timing"]["console_ms"].is_null(),
        "the console is silent: {lockup:#}"
    );
    assert_eq!(lockup["outside"]["graph"]["cycle"]["proven"], true);
    let evidence = report["evidence"]["text"].as_str().unwrap();
    for words in [
        "Deadlock, proven",
        "stop_two_cpus()",
        "cpu_stop_queue_work()",
        "lock of the stopper of CPU",
    ] {
        assert!(evidence.contains(words), "{words}:\n{evidence}");
    }
    for survivor in records.iter().filter(|one| one["arm"] == "fixed") {
        assert_eq!(
            survivor["outside"]["stuck"],
            serde_json::json!([]),
            "a false alarm"
        );
    }
    // What was stored says the same without the guest.
    let id = lockup["id"].as_str().unwrap();
    let build = run
        .dir()
        .join("builds")
        .join(lockup["build"].as_str().unwrap());
    let samples = run.dir().join("trials").join(id).join("vcpus.jsonl");
    let symbols = build.join("System.map");
    let paths = [samples.to_str().unwrap(), symbols.to_str().unwrap()];
    let again = run.kverdict(&["diagnose", "--recorded", paths[0], "--symbols", paths[1]]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert!(
        again.stdout.contains("Deadlock, proven"),
        "{}",
        again.stdout
    );
}

/// A guest that somebody else started: names come from its own memory, and nothing is stuck.
#[test]
#[ignore = "boots real kernels"]
fn t10_any_guest_can_be_diagnosed_by_its_qmp_socket() {
    let run = Verify::new()
        .without_proof_of_detectors()
        .replace("load_seconds: 60", "load_seconds: 1")
        .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1")
        .run();
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("qmp.sock");
    let kernel = run.records()[0]["build"].as_str().unwrap().to_owned();
    let _guest = support::start_guest(&kernel, &run.dir().join("initramfs-idle.cpio"), &socket);
    wait_until(SOON, "the guest idles", || {
        let diagnosis = run.kverdict(&[
            "diagnose",
            "--qmp",
            socket.to_str().unwrap(),
            "--seconds",
            "2",
            "--json",
        ]);
        let Ok(diagnosis) = serde_json::from_str::<serde_json::Value>(&diagnosis.stdout) else {
            return false;
        };
        let cpus = diagnosis["cpus"].as_array().unwrap();
        let idles = |cpu: &serde_json::Value| {
            let frames = cpu["stack"]["frames"].as_array().unwrap();
            frames.iter().any(|frame| frame["symbol"] == "do_idle")
        };
        assert_eq!(diagnosis["findings"]["stuck"], serde_json::json!([]));
        cpus.len() == 8 && cpus.iter().all(idles)
    });
    let text = run.kverdict(&[
        "diagnose",
        "--qmp",
        socket.to_str().unwrap(),
        "--seconds",
        "2",
    ]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(
        text.stdout.contains("found in memory") && text.stdout.contains("Linux version 6.12"),
        "{}",
        text.stdout
    );
}

/// The same two kernels without booting them: source, vmlinux and bzImage all say which has the fix.
#[test]
#[ignore = "builds real kernels"]
fn t11_source_and_code_of_both_arms_tell_which_has_the_fix() {
    let kverdict = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .args(args)
            .output()
            .unwrap();
        let json = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), json.unwrap_or_default(), error)
    };
    let reintroduce = ["--apply", "reintroduce-0b26351b910f"];
    for (patches, code, state) in [(&[][..], 0, "fixed"), (&reintroduce[..], 1, "affected")] {
        let amplified = [&["debian-6.12", "--apply", "amplify"], patches].concat();
        let build = kverdict(&[&["build", "--json"][..], &amplified].concat());
        assert_eq!(build.0, Some(0), "{}", build.2);
        let folder = std::path::PathBuf::from(build.1["dir"].as_str().unwrap());
        let [vmlinux, image] = ["vmlinux", "bzImage"].map(|name| folder.join(name));
        for (what, function) in [
            (amplified, "kernel/stop_machine.c:"),
            (vec![vmlinux.to_str().unwrap()], "cpu_stop_queue_work+0x"),
            (vec![image.to_str().unwrap()], "cpu_stop_queue_work+0x"),
        ] {
            let found =
                kverdict(&[&["inspect", "--json", "--fix", "migrate-swap"][..], &what].concat());
            assert_eq!(found.0, Some(code), "{what:?}: {}", found.2);
            let finding = &found.1["findings"][0];
            assert_eq!(finding["state"], state, "{what:?}: {finding:#}");
            let place = finding["evidence"][0]["place"].as_str().unwrap();
            assert!(place.starts_with(function), "{what:?}: {finding:#}");
        }
    }
}

/// What a compiler makes of every form of the fix, inlined or not, at every level.
#[test]
#[ignore = "compiles a hundred times"]
fn t12_code_of_every_form_is_understood_however_it_is_compiled() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compiled/queue.c");
    let scratch = tempfile::tempdir().unwrap();
    let kernel = scratch.path().join("vmlinux");
    let all_missing = &["9fb8d5dc4b64", "2610e8894663", "cfd355145c32"][..];
    for (form, held, counted, state, missing) in [
        (0, 0, true, "affected", &[][..]),
        (0, 0, false, "affected", &[]),
        (1, 0, true, "partial", all_missing),
        (1, 1, true, "partial", &["2610e8894663"]),
        (1, 2, true, "fixed", &[]),
        (1, 3, true, "fixed", &[]),
        (1, 0, false, "fixed", &[]),
        (1, 3, false, "fixed", &[]),
        (2, 0, true, "partial", all_missing),
        (2, 3, true, "fixed", &[]),
        (2, 3, false, "fixed", &[]),
    ] {
        for options in ["-O1", "-O2", "-Os", "-O3", "-O2 -fno-inline"] {
            for inlined in ["", "-DINLINED"] {
                let case = format!("{options} {inlined} form {form} held {held} counted {counted}");
                let compiled = std::process::Command::new("gcc")
                    .args(options.split(' '))
                    .args([
                        "-mcmodel=kernel",
                        "-fno-pic",
                        "-fno-pie",
                        "-no-pie",
                        "-static",
                    ])
                    .args(["-ffreestanding", "-nostdlib", "-fcf-protection=none"])
                    .args(["-Wl,-Ttext=0xffffffff81000000", "-Wl,-e,_stext"])
                    .args([format!("-DFORM={form}"), format!("-DHELD={held}")])
                    .args(counted.then_some("-DCOUNTED"))
                    .args((!inlined.is_empty()).then_some(inlined))
                    .args([source.as_ref(), "-o".as_ref(), kernel.as_os_str()])
                    .output()
                    .unwrap();
                let errors = String::from_utf8_lossy(&compiled.stderr);
                assert!(compiled.status.success(), "{case}: {errors}");
                let output = std::process::Command::new(env!("CARGO_BIN_EXE_kverdict"))
                    .args(["inspect", "--json", "--fix", "migrate-swap"])
                    .arg(&kernel)
                    .output()
                    .unwrap();
                let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                let finding = &found["findings"][0];
                assert_eq!(finding["state"], state, "{case}: {finding:#}");
                let follow_ups = finding["follow_ups"].as_array().unwrap().iter();
                let lacking: Vec<&str> = follow_ups
                    .filter(|one| one["state"] == "missing")
                    .map(|one| one["commit"]["id"].as_str().unwrap())
                    .collect();
                assert_eq!(lacking, missing, "{case}: {finding:#}");
            }
        }
    }
}

/// No amplifier in the kernels: the load brings both sides to the same CPUs, and the holder makes them
/// meet. The fixed kernel is under the same pressure and survives.
#[test]
#[ignore = "builds and boots real kernels"]
fn t13_kernels_without_amplifier_are_told_apart_by_the_holder() {
    let run = Verify::unmodified()
        .replace("min_control_lockups: 3", "min_control_lockups: 1")
        .replace("load_seconds: 120", "load_seconds: 60")
        .replace("alpha: 0.01", "alpha: 0.2")
        .run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let records = run.records();
    let of = |arm: &'static str| records.iter().filter(move |one| one["arm"] == arm);
    for (arm, patches) in [("unfixed", 1), ("fixed", 0)] {
        let build = of(arm).next().unwrap()["build"].as_str().unwrap();
        let manifest = run.dir().join("builds").join(build).join("manifest.json");
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
        assert_eq!(manifest["patches"].as_array().unwrap().len(), patches);
    }
    let held = |record: &serde_json::Value, what: &str| {
        record["exposure"]["holder"][what].as_u64().unwrap()
    };
    let lockup = of("unfixed").find(|record| record["signature"] == "target");
    assert!(held(lockup.expect("a lockup"), "meetings") >= 1);
    let report = run.report();
    let survived = report["trials"].as_array().unwrap().iter();
    let survived: Vec<&str> = survived
        .filter(|trial| trial["standing"] == "survived")
        .map(|trial| trial["id"].as_str().unwrap())
        .collect();
    assert!(!survived.is_empty());
    for record in records
        .iter()
        .filter(|one| survived.contains(&one["id"].as_str().unwrap()))
    {
        assert!(held(record, "looks") > 0, "{record:#}");
        assert!(held(record, "swaps_held") > 0, "{record:#}");
        let id = record["id"].as_str().unwrap();
        let readings = run.trial_file(id, "exposure.jsonl").lines().count();
        let heartbeats = record["exposure"]["heartbeats"].as_u64().unwrap();
        // One poll may find several heartbeats.
        assert!(
            readings as u64 >= heartbeats / 2,
            "{id}: {readings} readings, {heartbeats} heartbeats"
        );
    }
}

/// The two ways to leave the pollers' node no other CPU.
#[test]
#[ignore = "boots real kernels"]
fn t14_spare_cpus_can_be_taken_from_the_load() {
    for how in ["offline", "apart"] {
        let run = Verify::unmodified()
            .without_proof_of_detectors()
            .replace("tuning:\n", &format!("tuning:\n  spare_cpus: {how}\n"))
            .replace("load_seconds: 120", "load_seconds: 5")
            .replace("max_trials_per_arm: 30", "max_trials_per_arm: 1")
            .run();
        let fixed = run.records().into_iter().find(|one| one["arm"] == "fixed");
        let fixed = fixed.expect("a trial of each arm");
        assert_eq!(fixed["refused_settings"], serde_json::json!([]), "{how}");
        let outcome = fixed["outcome"].as_str().unwrap();
        assert!(["clean", "warning"].contains(&outcome), "{how}: {fixed:#}");
        let agent = run.trial_file(fixed["id"].as_str().unwrap(), "agent.jsonl");
        assert!(
            agent.contains(&format!("{how} [4, 5, 6]")),
            "{how}: {agent}"
        );
    }
}
