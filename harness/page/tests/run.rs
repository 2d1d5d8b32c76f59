//! Pages of runs: what is in them, and that nothing gets out of them.

mod support;

use kverdict_core::assessment::{self, Enough};
use kverdict_core::bisect::observation::{Observation, Reading as Step};
use kverdict_core::bisect::range::{Candidate, Direction, Range};
use kverdict_core::bisect::report as bisect_report;
use kverdict_core::bisect::search::Policy;
use kverdict_core::compare::report::{self as compare_report, Known};
use kverdict_core::compare::{Comparison, Demands, Side};
use kverdict_core::holder::HolderCounts;
use kverdict_core::outside::waits::{How, Wait};
use kverdict_page::console::{Decisive, EXCERPT_BYTES_MAX, Excerpt};
use kverdict_page::left::Reading;
use support::{Recorded, at, check, keep};

#[test]
fn a_verified_run_is_told_from_the_answer_to_the_methods() {
    let html = Recorded::verified().html();
    keep("verify.html", &html);
    check(&html);
    let order = [
        "<p class=\"word\">Verified",
        "What was asked",
        "Why this answer",
        "How sure that is",
        "The kernels in figures",
        "How often each locks up",
        "Part of the trials that is still alive",
        "Who waits for whom",
        "What each CPU did",
        "How near the trials came to the race",
        "What the console of trial 0001-unfixed said",
        "More trials that went wrong",
        "Made with",
        "Detectors, proven",
        "All trials",
        "Reproduce this",
        "How the figures are made",
    ];
    let places: Vec<usize> = order.iter().map(|text| at(&html, text)).collect();
    assert!(places.is_sorted(), "{places:?}");
    // The lockup was noticed at line 205 of the first trial's console.
    let line = "<div class=\"line marked\" id=\"0001-unfixed-L205\">";
    assert!(html[at(&html, line)..].contains("hard LOCKUP on cpu 4"));
    at(&html, "<a class=\"to-line\" href=\"#0001-unfixed-L205\">");
    at(&html, "kverdict verify --install-deps");
    at(&html, "kverdict report results/recorded");
    // The third trial's console is not among what was recorded.
    at(&html, "The console was not kept.");
    at(&html, "href=\"trials/0005-unfixed/console.log\"");
}

#[test]
fn the_frames_of_a_side_are_marked_and_others_are_not() {
    let html = Recorded::verified().html();
    let lines: Vec<&str> = html
        .lines()
        .filter(|line| line.contains("id=\"0001-unfixed-L"))
        .collect();
    let of = |text: &str| {
        let mut found = lines.iter().filter(|line| line.contains(text));
        found.any(|line| line.contains("class=\"line marked\""))
    };
    assert!(of("stop_one_cpu_nowait+0x32"));
    assert!(!of("Modules linked in"));
    assert!(!of("Call Trace"));
}

#[test]
fn what_guests_write_never_gets_out() {
    let mut run = Recorded::verified();
    let evil = "</pre></svg><script>window.pwned = 1</script><img src=x onerror='pwned=1'>\u{1b}[31m\u{202e}\0";
    let console = run.left("0001-unfixed").console.as_mut().unwrap();
    let mut hostile = evil.as_bytes().to_vec();
    hostile.extend(b"\xff\xfe \x9b31m\r\n");
    // Lines before it stay where they were.
    console.extend(hostile.repeat(200));
    let lines = console.iter().filter(|byte| **byte == b'\n').count() as u64;
    let record = run.record("0001-unfixed");
    record.title = evil.to_owned();
    record.refused_settings = vec![evil.to_owned()];
    record.contradictions = vec![evil.to_owned()];
    let report = record.console.first.unwrap();
    record.console.reports[report].line = lines - 100;
    for wait in &mut record.outside.graph.waits {
        wait.what = evil.to_owned();
    }
    for stuck in &mut record.outside.stuck {
        stuck.stack.frames[0].symbol = Some(evil.to_owned());
    }
    run.environment.push((evil.to_owned(), evil.to_owned()));
    run.argv.push(evil.to_owned());
    run.campaign.about = evil.to_owned();
    run.armings[0].how = evil.to_owned();
    let html = run.html();
    keep("hostile.html", &html);
    check(&html);
    at(&html, "\\x1b[31m\\u{202e}\\x00");
    at(&html, "\\xff\\xfe");
    at(&html, "&lt;script&gt;window.pwned = 1");
}

#[test]
fn names_that_are_hostile_make_no_markup_and_no_path() {
    let mut run = Recorded::verified();
    let name = "a\"><b id='x'>/../../etc";
    let arm = run.campaign.arms.remove("unfixed").unwrap();
    run.campaign.arms.insert(name.to_owned(), arm);
    for arming in &mut run.armings {
        arming.arm = arming.arm.replace("unfixed", name);
    }
    for record in &mut run.records {
        record.arm = record.arm.replace("unfixed", name);
        record.id = record.id.replace("-unfixed", &format!("-{name}"));
    }
    let left = std::mem::take(&mut run.leftovers);
    run.leftovers = left
        .into_iter()
        .map(|(id, left)| (id.replace("-unfixed", &format!("-{name}")), left))
        .collect();
    let html = run.html();
    check(&html);
    assert!(!html.contains("<b id"));
    let links = html.split("href=\"").skip(1);
    for link in links.filter_map(|part| part.split('"').next()) {
        assert!(
            !link.contains("/../"),
            "{link} leads out of the run's folder"
        );
    }
}

#[test]
fn a_flood_on_the_console_does_not_flood_the_page() {
    let mut run = Recorded::verified();
    let plain = run.html().len();
    for (id, flood) in [
        ("0001-unfixed", b"<&\"'/>\n".repeat(1_500_000)),
        ("0003-unfixed", b"\x01\xff".repeat(5_000_000)),
        ("0005-unfixed", b"<".repeat(10_000_000)),
    ] {
        run.left(id).console = Some(flood);
    }
    let html = run.html();
    check(&html);
    assert!(
        html.len() < plain + 3 * EXCERPT_BYTES_MAX,
        "{} bytes",
        html.len()
    );
    at(&html, "bytes in this line)");
}

#[test]
fn an_excerpt_has_what_decided_and_says_what_it_leaves_out() {
    let console: String = (1..=1000)
        .map(|number| format!("line {number}\r\n"))
        .collect();
    let decisive = |line| Decisive {
        line,
        why: "it says so".to_owned(),
        frames: vec!["line 530".to_owned(), "line 999".to_owned()],
    };
    let excerpt = Excerpt::new("t", console.as_bytes(), &[decisive(500), decisive(530)]);
    let [part] = &excerpt.parts[..] else {
        panic!("stretches that overlap are one: {:?}", excerpt.parts.len());
    };
    assert_eq!(part.skipped, 459);
    let numbers: Vec<u64> = part.lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (460..=570).collect::<Vec<_>>());
    let marked: Vec<&str> = part
        .lines
        .iter()
        .filter(|line| line.marked)
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(marked, ["line 500", "line 530"]);
    assert!(excerpt.has(460) && !excerpt.has(459));
    assert!(
        excerpt.note.contains("111 of 1000 lines"),
        "{}",
        excerpt.note
    );
    // Places that are not in the console decide nothing; its end is shown.
    let end = Excerpt::new("t", console.as_bytes(), &[decisive(5000)]);
    assert!(end.has(1000) && end.links[0].why == "the last line");
    let empty = Excerpt::new("t", b"", &[decisive(1)]);
    assert!(empty.parts.is_empty() && empty.note.contains("empty"));
}

#[test]
fn an_excerpt_shrinks_until_it_fits() {
    let wide = format!("{}\n", "<".repeat(390)).repeat(2000);
    let decisive: Vec<Decisive> = (0..12)
        .map(|one| Decisive {
            line: 100 + one * 150,
            why: String::new(),
            frames: Vec::new(),
        })
        .collect();
    let excerpt = Excerpt::new("t", wide.as_bytes(), &decisive);
    let lines: usize = excerpt.parts.iter().map(|part| part.lines.len()).sum();
    assert!(lines * 390 * 6 < EXCERPT_BYTES_MAX, "{lines} lines");
    assert!(decisive.iter().all(|one| excerpt.has(one.line)));
}

#[test]
fn a_cycle_of_many_is_drawn_and_one_who_waits_alone_is_not() {
    let mut run = Recorded::verified();
    let graph = &mut run.record("0001-unfixed").outside.graph;
    let wait = |cpu, holder| Wait {
        cpu,
        rule: "r".to_owned(),
        what: format!("lock of {holder}"),
        address: 0,
        value: None,
        holder: Some(holder),
        how: How::Exclusion,
    };
    graph.waits = vec![wait(0, 1), wait(1, 2), wait(2, 3), wait(3, 0)];
    let cycle = graph.cycle.as_mut().unwrap();
    cycle.cpus = vec![0, 1, 2, 3];
    let html = run.html();
    keep("cycle-of-four.html", &html);
    check(&html);
    at(
        &html,
        "CPU 3 waits for lock of 0; CPU 0 has to end that, as no other CPU can be the one",
    );
    for record in &mut run.records {
        record.outside.graph.cycle = None;
    }
    assert!(!run.html().contains("class=\"cycle\""));
}

#[test]
fn exposure_is_drawn_over_time_where_a_holder_counted() {
    let mut run = Recorded::verified();
    assert!(run.html().contains("A dot for each trial."));
    for (id, step) in [("0002-fixed", 3), ("0001-unfixed", 2)] {
        run.left(id).exposure = (0..40)
            .map(|second| Reading {
                load_ms: second * 1000,
                counts: HolderCounts {
                    meetings: 7 + second * step / 5,
                    ..HolderCounts::default()
                },
            })
            .collect();
    }
    let html = run.html();
    check(&html);
    at(&html, "A line for each trial");
}

#[test]
fn nothing_but_trouble_of_the_host_is_a_page_too() {
    let mut run = Recorded::verified();
    run.records.clear();
    run.armings.clear();
    let html = run.html();
    check(&html);
    at(&html, "Inconclusive");
    at(&html, "no detector is proven to work");
}

#[test]
fn a_comparison_has_a_page() {
    let run = Recorded::verified();
    let sides: Vec<Side> = ["fixed", "unfixed"]
        .into_iter()
        .map(|name| Side {
            name: name.to_owned(),
            label: format!("debian-6.12 <{name}>"),
            untestable: None,
        })
        .collect();
    let demands = Demands::of_trials(1.0, 0.05, 0.05);
    let comparison = Comparison {
        campaign: &run.campaign,
        demands: &demands,
        sides: &sides,
        armings: &run.armings,
    };
    let report = compare_report::report(
        "recorded",
        &comparison,
        &run.records,
        run.environment.clone(),
        &Known::default(),
    );
    let html = run.page(|material| kverdict_page::run::compare(&report, material).unwrap());
    keep("compare.html", &html);
    check(&html);
    at(&html, "debian-6.12 &lt;unfixed&gt;");
    at(&html, "B against A");
}

#[test]
fn trials_of_one_kernel_have_a_page() {
    let mut run = Recorded::verified();
    run.campaign.arms.remove("unfixed");
    run.records.retain(|record| record.arm == "fixed");
    run.armings.retain(|arming| arming.arm == "fixed");
    let enough = Enough::Minutes(3.0);
    let arming = run.armings.last();
    let found = assessment::assess(&run.campaign.policy, &enough, arming, &run.records);
    let html = run.page(|material| kverdict_page::run::trial(&found, &enough, material).unwrap());
    check(&html);
    at(&html, "No bug shown");
    assert!(!html.contains("id=\"evidence\""));
}

#[test]
fn a_bisection_has_a_page() {
    let run = Recorded::verified();
    let candidates = (0..4_usize)
        .map(|index| Candidate {
            label: format!("commit <{index}>"),
            parents: index.checked_sub(1).into_iter().collect(),
            weight: 1.0,
            build_minutes: 0.0,
        })
        .collect();
    let range = Range::list(Direction::Broke, candidates).unwrap();
    let step = |candidate, lockups| Observation {
        candidate,
        reading: Step::Counted {
            lockups,
            exposed_minutes: 1.0,
        },
        minutes: 1.5,
    };
    let steps = [step(3, 1), step(0, 0), step(2, 1)];
    let environment = run.environment.clone();
    let report = bisect_report::report("recorded", &range, &Policy::default(), environment, &steps);
    let html = run.page(|material| kverdict_page::run::bisect(&report, material).unwrap());
    check(&html);
    for text in [
        "Not finished",
        "id=\"suspects\"",
        "id=\"path\"",
        "commit &lt;2&gt;",
        "locked up after 1.00 min",
        "Another 60 minutes would end the search with probability ",
    ] {
        at(&html, text);
    }
}
