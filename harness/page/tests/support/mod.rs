//! A run that was recorded, and how pages are looked at.

// Every test program uses another part of it.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kverdict_core::arming::Arming;
use kverdict_core::campaign::Campaign;
use kverdict_core::outside::sample::{Line, Sample};
use kverdict_core::record::TrialRecord;
use kverdict_core::report::{self, Report};
use kverdict_core::verdict;
use kverdict_page::left::{Left, Leftovers};
use kverdict_page::run::Material;
use serde::de::DeserializeOwned;

/// `kverdict verify` of migrate-swap, which verified the fix.
pub struct Recorded {
    pub campaign: Campaign,
    pub argv: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub armings: Vec<Arming>,
    pub records: Vec<TrialRecord>,
    pub leftovers: Leftovers,
}

impl Recorded {
    pub fn verified() -> Self {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cli/tests/recorded/verified");
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(dir.join("run.json")).unwrap()).unwrap();
        let records: Vec<TrialRecord> = lines(&dir.join("trials.jsonl"));
        let leftovers = records
            .iter()
            .map(|record| {
                (
                    record.id.clone(),
                    left(&dir.join("trials").join(&record.id)),
                )
            })
            .collect();
        Self {
            campaign: serde_json::from_value(manifest["campaign"].clone()).unwrap(),
            argv: serde_json::from_value(manifest["argv"].clone()).unwrap(),
            environment: vec![("QEMU".to_owned(), manifest["qemu"].to_string())],
            armings: lines(&dir.join("armings.jsonl")),
            records,
            leftovers,
        }
    }

    pub fn report(&self) -> Report {
        let verdict = verdict::judge(&self.campaign, &self.armings, &self.records);
        report::report(
            "recorded",
            &self.campaign,
            self.environment.clone(),
            &self.armings,
            &self.records,
            verdict,
        )
    }

    /// Hands `make` what pages are made of.
    pub fn page<R>(&self, make: impl FnOnce(&Material<'_>) -> R) -> R {
        let records: Vec<&TrialRecord> = self.records.iter().collect();
        make(&Material {
            run: "recorded",
            argv: &self.argv,
            environment: &self.environment,
            campaign: &self.campaign,
            armings: &self.armings,
            records: &records,
            leftovers: &self.leftovers,
        })
    }

    pub fn html(&self) -> String {
        self.page(|material| kverdict_page::run::verify(&self.report(), material).unwrap())
    }

    pub fn record(&mut self, id: &str) -> &mut TrialRecord {
        self.records.iter_mut().find(|one| one.id == id).unwrap()
    }

    pub fn left(&mut self, id: &str) -> &mut Left {
        self.leftovers.get_mut(id).unwrap()
    }
}

fn left(dir: &Path) -> Left {
    let samples: Vec<Sample> = match dir.join("vcpus.jsonl").exists() {
        true => lines(&dir.join("vcpus.jsonl"))
            .into_iter()
            .map(|line| match line {
                Line::Sample(sample) => sample,
                Line::Look(_) => panic!("looks are not recorded"),
            })
            .collect(),
        false => Vec::new(),
    };
    Left {
        console: fs::read(dir.join("console.log")).ok(),
        samples,
        exposure: Vec::new(),
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap();
    let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

/// Leaves a page for people to look at.
pub fn keep(name: &str, html: &str) {
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), html).unwrap();
}

/// What holds of every page, whatever is in it.
pub fn check(html: &str) {
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    assert!(html.contains("default-src 'none'"), "no policy");
    for tag in tags(html) {
        check_tag(tag);
    }
    assert!(
        !html.contains("@import") && !html.contains("url("),
        "the style sheet loads something"
    );
    let hidden = |c: &char| c.is_control() && !"\n\t".contains(*c);
    assert_eq!(html.chars().find(hidden), None, "a control character");
    let ids: Vec<&str> = values(html, " id=\"");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "an id is there twice");
    for link in values(html, "href=\"") {
        match link.strip_prefix('#') {
            Some(target) => assert!(unique.contains(target), "#{target} leads nowhere"),
            None => assert!(
                !link.contains(':') || link.starts_with("https://"),
                "{link}"
            ),
        }
    }
    for open in [
        "svg", "table", "details", "figure", "div", "li", "tr", "td", "section",
    ] {
        let count = |text: &str| html.matches(text).count();
        let opened = count(&format!("<{open} ")) + count(&format!("<{open}>"));
        assert_eq!(
            opened,
            count(&format!("</{open}>")),
            "<{open}> is not closed"
        );
    }
}

/// What stands between angle brackets.
fn tags(html: &str) -> Vec<&str> {
    let parts = html.split('<').skip(1);
    parts
        .map(|part| part.split('>').next().unwrap_or_default())
        .collect()
}

/// Only elements and attributes that load and run nothing.
fn check_tag(tag: &str) {
    const ELEMENTS: &str = "!doctype html head meta title style body h1 h2 h3 p a ul ol li dl dt dd nav section div span \
                            figure details summary table tr th td code pre svg rect line polyline polygon circle text";
    const ATTRIBUTES: &str = "html lang charset name content http-equiv class id href rel title role aria-label width height \
                              viewBox xmlns x y x1 y1 x2 y2 dx dy cx cy r rx points fill stroke stroke-width opacity \
                              text-anchor font-family font-size font-weight transform";
    let mut values = tag.split('"');
    let outside: String = values.by_ref().step_by(2).collect();
    let mut words = outside.split_whitespace();
    let name = words.next().unwrap_or_default().trim_matches('/');
    assert!(
        ELEMENTS.split_whitespace().any(|one| one == name),
        "<{tag}>"
    );
    for word in words {
        let word = word.trim_matches('/').trim_end_matches('=');
        let parts = word.split('=').filter(|part| !part.is_empty());
        for attribute in parts {
            assert!(
                ATTRIBUTES.split_whitespace().any(|one| one == attribute),
                "{attribute} in <{tag}>"
            );
        }
    }
}

/// What stands behind `before`, up to the next quote.
fn values<'a>(html: &'a str, before: &str) -> Vec<&'a str> {
    let parts = html.split(before).skip(1);
    parts.filter_map(|part| part.split('"').next()).collect()
}

/// Where a text stands; it has to be there.
pub fn at(html: &str, text: &str) -> usize {
    html.find(text)
        .unwrap_or_else(|| panic!("`{text}` is not in the page"))
}
