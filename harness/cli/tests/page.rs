//! The page of a run: what `kverdict report` makes of recorded runs, and what a real browser shows of it.
//!
//! Tests that need Chromium are left out by default: `cargo test --test page -- --ignored w`. They leave pictures
//! in the target folder's `tmp`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Network, Page};
use headless_chrome::{Browser, LaunchOptions, Tab};
use serde_json::{Value, json};

/// A copy of a recorded run, reported again.
struct Reported {
    scratch: tempfile::TempDir,
}

impl Reported {
    /// `change` may alter the copy before it is reported.
    fn new(change: impl FnOnce(&Path)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/verified");
        for entry in walkdir::WalkDir::new(&recorded) {
            let entry = entry.unwrap();
            let to = scratch
                .path()
                .join(entry.path().strip_prefix(&recorded).unwrap());
            match entry.file_type().is_dir() {
                true => fs::create_dir_all(&to).unwrap(),
                false => drop(fs::copy(entry.path(), &to).unwrap()),
            }
        }
        change(scratch.path());
        let output = Command::new(env!("CARGO_BIN_EXE_kverdict"))
            .arg("report")
            .arg(scratch.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        Self { scratch }
    }

    fn page(&self) -> PathBuf {
        self.scratch.path().join("report.html")
    }

    fn html(&self) -> String {
        fs::read_to_string(self.page()).unwrap()
    }
}

#[test]
fn a_report_comes_with_a_page() {
    let html = Reported::new(|_| {}).html();
    assert!(html.contains("<p class=\"word\">Verified</p>"));
    assert!(html.contains("id=\"0001-unfixed-L205\""), "the console");
    assert!(html.contains("What each CPU did"), "the samples");
    assert!(html.contains("6.12.117"), "the kernels");
}

#[test]
fn a_page_says_less_where_files_are_gone_or_damaged() {
    let html = Reported::new(|run| {
        fs::remove_dir_all(run.join("trials/0003-unfixed")).unwrap();
        fs::write(
            run.join("trials/0001-unfixed/vcpus.jsonl"),
            "{\"type\":\"sample\"\n\n{",
        )
        .unwrap();
        fs::write(
            run.join("trials/0001-unfixed/exposure.jsonl"),
            "no line of it",
        )
        .unwrap();
    })
    .html();
    assert!(html.contains("<p class=\"word\">Verified</p>"));
    assert!(
        html.contains("Who waits for whom"),
        "that is in the records"
    );
    assert!(!html.contains("What each CPU did"));
    assert!(html.contains("The console was not kept."));
}

/// A page in a browser, and what it asked for and complained about.
struct Opened {
    tab: Arc<Tab>,
    events: Arc<Mutex<Vec<String>>>,
    /// Held until the test ends.
    _browser: Browser,
    _profile: tempfile::TempDir,
}

/// Height of a screen.
const SCREEN: u32 = 900;
const CHROMIUM: &str = "/usr/bin/chromium";
const NO_CHROMIUM: &str = "this test looks at a page in Chromium, and there is none; \
                           install it: sudo apt-get install --yes --no-install-recommends chromium";

impl Opened {
    /// As wide as given, in light or dark.
    fn new(page: &Path, width: u32, scheme: &str) -> Self {
        assert!(Path::new(CHROMIUM).exists(), "{NO_CHROMIUM}");
        let profile = tempfile::tempdir().unwrap();
        let flags = [
            "--disable-gpu",
            "--disable-component-update",
            "--hide-scrollbars",
        ];
        let options = LaunchOptions::default_builder()
            .path(Some(PathBuf::from(CHROMIUM)))
            // The sandbox does not work for root, and no page of ours runs anything.
            .sandbox(false)
            .user_data_dir(Some(profile.path().to_owned()))
            .args(flags.iter().map(OsStr::new).collect())
            .build()
            .unwrap();
        let browser = Browser::new(options).unwrap();
        let tab = browser.new_tab().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        tab.add_event_listener(Arc::new(move |event: &Event| {
            if let Some(text) = describe(event) {
                heard.lock().unwrap().push(text);
            }
        }))
        .unwrap();
        tab.enable_log().unwrap();
        tab.enable_runtime().unwrap();
        tab.call_method(of::<Network::Enable>(json!({}))).unwrap();
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        tab.call_method(of::<Emulation::SetEmulatedMedia>(media))
            .unwrap();
        let opened = Self {
            tab,
            events,
            _browser: browser,
            _profile: profile,
        };
        opened.resize(width, SCREEN);
        let url = format!("file://{}", page.display());
        let tab = &opened.tab;
        tab.navigate_to(&url)
            .unwrap()
            .wait_until_navigated()
            .unwrap();
        opened
    }

    fn ask(&self, expression: &str) -> Value {
        let found = self.tab.evaluate(expression, false).unwrap();
        found.value.unwrap_or(Value::Null)
    }

    /// Left, top, width and height of the first element that can be seen of those that are meant.
    fn seen(&self, selector: &str) -> [f64; 4] {
        let quoted = serde_json::to_string(selector).unwrap();
        let found = self.ask(&format!(
            "JSON.stringify([...document.querySelectorAll({quoted})].map(e => e.getBoundingClientRect())\
             .filter(r => r.width > 0 && r.height > 0).map(r => [r.left, r.top, r.width, r.height])[0] || null)"
        ));
        let text = found.as_str().unwrap_or("null");
        serde_json::from_str(text).unwrap_or_else(|_| panic!("{selector} cannot be seen"))
    }

    /// Leaves a picture of the whole page for people to look at.
    fn keep(&self, name: &str) {
        let height = self
            .ask("document.documentElement.scrollHeight")
            .as_f64()
            .unwrap();
        let width = self
            .ask("document.documentElement.clientWidth")
            .as_f64()
            .unwrap();
        self.resize(width as u32, (height as u32).min(9000));
        let png = Page::CaptureScreenshotFormatOption::Png;
        let picture = self.tab.capture_screenshot(png, None, None, true).unwrap();
        fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), picture).unwrap();
    }

    fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1.0, "mobile": false});
        let metrics = of::<Emulation::SetDeviceMetricsOverride>(metrics);
        self.tab.call_method(metrics).unwrap();
    }

    /// Nothing was asked of anybody but the file itself, and nothing was complained about.
    fn check_quiet(&self) {
        // An answer comes after all events before it.
        self.ask("1");
        let events = self.events.lock().unwrap();
        let (asked, complaints): (Vec<&String>, Vec<&String>) = events
            .iter()
            .partition(|event| event.starts_with("request "));
        assert!(complaints.is_empty(), "{complaints:?}");
        assert!(!asked.is_empty(), "the listener heard nothing at all");
        assert!(
            asked
                .iter()
                .all(|one| one.contains(" file:///") && one.contains("report.html")),
            "{asked:?}"
        );
    }
}

fn of<T: serde::de::DeserializeOwned>(fields: Value) -> T {
    serde_json::from_value(fields).unwrap()
}

fn describe(event: &Event) -> Option<String> {
    match event {
        Event::NetworkRequestWillBeSent(sent) => {
            Some(format!("request {}", sent.params.request.url))
        }
        Event::LogEntryAdded(entry) => Some(format!("log {:?}", entry.params.entry)),
        Event::RuntimeExceptionThrown(thrown) => Some(format!("exception {thrown:?}")),
        Event::RuntimeConsoleAPICalled(called) => Some(format!("console {called:?}")),
        // Most of what a browser tells is of no interest.
        _ => None,
    }
}

#[test]
#[ignore = "needs Chromium"]
fn w1_a_browser_shows_the_answer_the_curve_and_the_cycle_and_asks_nobody() {
    let run = Reported::new(|_| {});
    for (width, scheme, name) in [
        (1000, "light", "page-light.png"),
        (1000, "dark", "page-dark.png"),
        (390, "light", "page-390.png"),
    ] {
        let page = Opened::new(&run.page(), width, scheme);
        let [_, top, _, _] = page.seen("#answer .word");
        assert!(top < 300.0, "the answer stands first, not at {top}");
        let word = page.ask("document.querySelector('#answer .word').textContent");
        assert_eq!(word, "Verified");
        for figure in [
            "survival",
            "rates",
            "cycle-0001-unfixed",
            "timeline-0001-unfixed",
            "exposure",
        ] {
            let [left, _, wide, high] = page.seen(&format!("#{figure} svg"));
            assert!(wide > 250.0 && high > 60.0, "{figure}: {wide} x {high}");
            assert!(
                left >= 0.0 && left + wide <= f64::from(width),
                "{figure} is cut off"
            );
        }
        page.seen("#survival svg polyline");
        page.seen("#cycle-0001-unfixed .box");
        page.seen("#cycle-0001-unfixed .tip");
        let text = page.ask(
            "parseFloat(getComputedStyle(document.querySelector('#survival svg text')).fontSize)",
        );
        assert!(
            text.as_f64().unwrap() >= 11.0,
            "words in plots are too small: {text}"
        );
        let overflow =
            page.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(
            overflow.as_f64(),
            Some(0.0),
            "the page is wider than a screen of {width}"
        );
        page.keep(name);
        page.check_quiet();
    }
}

#[test]
#[ignore = "needs Chromium"]
fn w2_dark_is_dark_and_inks_are_readable_in_both() {
    let run = Reported::new(|_| {});
    let shade = |page: &Opened, what: &str| -> f64 {
        let color = page.ask(what);
        let color = color.as_str().unwrap().to_owned();
        let parts = color
            .trim_matches(|c: char| !c.is_ascii_digit())
            .split(", ");
        let channels: Vec<f64> = parts.take(3).map(|part| part.parse().unwrap()).collect();
        channels.iter().sum::<f64>() / channels.len() as f64
    };
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        let page = Opened::new(&run.page(), 1000, scheme);
        let paper = shade(&page, "getComputedStyle(document.body).backgroundColor");
        assert_eq!(paper < 100.0, is_dark, "{scheme}: {paper}");
        for word in [
            "getComputedStyle(document.body).color",
            "getComputedStyle(document.querySelector('#survival svg text')).fill",
            "getComputedStyle(document.querySelector('.cycle .head')).fill",
        ] {
            let ink = shade(&page, word);
            assert!(
                (ink - paper).abs() > 90.0,
                "{scheme}: {word} is {ink} on {paper}"
            );
        }
    }
}

#[test]
#[ignore = "needs Chromium"]
fn w3_a_link_leads_to_its_line_of_the_console() {
    let run = Reported::new(|_| {});
    let page = Opened::new(&run.page(), 1000, "light");
    assert_eq!(page.ask("scrollY").as_f64(), Some(0.0));
    for (link, anchor) in [
        (
            "#trial-table a.to-line[href='#0001-unfixed-L205']",
            "0001-unfixed-L205",
        ),
        // Of a trial that is folded away until then.
        (
            "#trial-table a.to-line[href='#0003-unfixed-L207']",
            "0003-unfixed-L207",
        ),
    ] {
        let line = format!("document.getElementById('{anchor}')");
        page.tab.find_element(link).unwrap().click().unwrap();
        let targeted = format!("document.querySelector(':target') === {line}");
        assert_eq!(
            page.ask(&targeted),
            true,
            "{anchor} is not what is pointed at"
        );
        let [_, top, _, high] = page.seen(&format!("[id='{anchor}']"));
        assert!(
            high > 5.0 && (0.0..f64::from(SCREEN)).contains(&top),
            "{anchor} is out of sight, at {top}"
        );
        let text = page.ask(&format!("{line}.textContent"));
        assert!(text.as_str().unwrap().contains("hard LOCKUP"), "{text}");
    }
    page.check_quiet();
}

#[test]
#[ignore = "needs Chromium"]
fn w4_what_guests_write_does_not_run() {
    let evil = "</span></div><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>\
                <svg onload='window.pwned = 1'><a href='javascript:window.pwned=1'>\u{1b}[31m";
    let run = Reported::new(|run| {
        let console = run.join("trials/0001-unfixed/console.log");
        let mut bytes = fs::read(&console).unwrap();
        bytes.extend(evil.as_bytes());
        bytes.extend(b"\xff\xfe\r\n");
        // As many bytes as a flood has, after lines that stay where they were.
        bytes.extend(b"<b>\x07".repeat(2_500_000));
        fs::write(&console, bytes).unwrap();
        let path = run.join("trials.jsonl");
        let records = fs::read_to_string(&path).unwrap();
        let changed: String = records
            .lines()
            .map(|line| {
                let mut record: Value = serde_json::from_str(line).unwrap();
                record["title"] = json!(evil);
                record["contradictions"] = json!([evil]);
                if let Some(waits) = record["outside"]["graph"]["waits"].as_array_mut() {
                    waits.iter_mut().for_each(|wait| wait["what"] = json!(evil));
                }
                format!("{record}\n")
            })
            .collect();
        fs::write(&path, changed).unwrap();
    });
    let size = run.html().len();
    assert!(size < 1_000_000, "{size} bytes");
    let page = Opened::new(&run.page(), 1000, "light");
    assert_eq!(page.ask("typeof window.pwned"), "undefined");
    assert_eq!(
        page.ask("document.querySelectorAll('script, img, b').length"),
        0
    );
    assert_eq!(
        page.ask("document.body.textContent.includes('<script>window.pwned = 1</script>')"),
        true
    );
    page.check_quiet();
}

#[test]
#[ignore = "needs Chromium"]
fn w5_a_page_that_runs_or_asks_for_something_would_be_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let page = scratch.path().join("report.html");
    let other =
        "<img src='other.png'><script>window.pwned = 1; console.log('here'); nothing()</script>";
    fs::write(&page, other).unwrap();
    let page = Opened::new(&page, 1000, "light");
    assert_eq!(page.ask("window.pwned").as_f64(), Some(1.0));
    let events = page.events.lock().unwrap();
    for heard in ["request file:///", "other.png", "console ", "exception "] {
        assert!(
            events.iter().any(|event| event.contains(heard)),
            "{heard}: {events:?}"
        );
    }
}
