//! Downloads with the `curl` program: it brings TLS, the machine's certificates and its proxy
//! settings, all of which a static binary would have to carry and keep up to date itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use kverdict_core::catalogue::key::sha256_hex;

use super::cache::{Cache, write_whole};
use super::file::{check_sha256, file_sha256};
use super::inventory::Kind;
use crate::process::{Child, Ending, Interrupted, Job, POLL_INTERVAL, interrupted, tail_of};
use crate::progress::Progress;

/// Longest download.
pub const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60 * 60);
/// Tries in a row that bring nothing.
const TRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Fetches a URL into the cache's downloads and checks its digest. A download that was interrupted
/// goes on where it stopped, now or when kverdict runs again.
///
/// # Errors
/// When it cannot be fetched (what came is kept), or has another digest (then it is not).
pub fn fetch(url: &str, sha256: &str, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    cache.keep(Kind::Download, sha256, url)?;
    let _lock = cache.lock(
        &format!("download-{sha256}"),
        "downloads the same file",
        progress,
    )?;
    let done = cache.downloads().join(sha256);
    if done.is_file() {
        return Ok(done);
    }
    let download = Download::new(url, sha256, cache, progress);
    let resumed = download.length() > 0;
    download.to_the_end()?;
    if let Err(error) = check_sha256(&download.part, sha256) {
        download.forget()?;
        if !resumed {
            return Err(error.context(format!("downloaded {url}")));
        }
        // What was there from an earlier time may have been another file's beginning.
        download.to_the_end()?;
        if let Err(error) = check_sha256(&download.part, sha256) {
            download.forget()?;
            return Err(error.context(format!("downloaded {url}")));
        }
    }
    fs::rename(&download.part, &done)
        .with_context(|| format!("cannot rename {}", download.part.display()))?;
    download.forget()?;
    Ok(done)
}

/// The digest of a file for which the catalogue has none: of the one that comes now, or came when it
/// was first fetched. The file is then in the cache's downloads.
///
/// # Errors
/// When it cannot be fetched.
pub fn digest_of_first_use(url: &str, cache: &Cache, progress: &Progress) -> Result<String> {
    let name = sha256_hex(url.as_bytes());
    cache.keep(Kind::Download, &name, url)?;
    let _lock = cache.lock(
        &format!("download-{name}"),
        "downloads the same file",
        progress,
    )?;
    let memo = cache.downloads().join(format!("{name}.first-use"));
    if let Ok(digest) = fs::read_to_string(&memo) {
        return Ok(digest);
    }
    let download = Download::new(url, &name, cache, progress);
    // What an earlier run left may be the beginning of another file, and nothing would tell.
    download.forget()?;
    download.to_the_end()?;
    let digest = file_sha256(&download.part)?;
    let done = cache.downloads().join(&digest);
    fs::rename(&download.part, &done)
        .with_context(|| format!("cannot rename {}", download.part.display()))?;
    write_whole(&memo, digest.as_bytes())?;
    download.forget()?;
    progress.line(format!(
        "nobody says what {url} should be; it came with the sha256 {digest}, which it has to have from now on"
    ));
    Ok(digest)
}

/// Removes what was fetched under a digest.
///
/// # Errors
/// When it cannot be removed.
pub fn discard(sha256: &str, cache: &Cache) -> Result<()> {
    remove(&cache.downloads().join(sha256))
}

/// How one run of curl ended.
enum Step {
    /// All is there.
    Done,
    /// What is there cannot be gone on with.
    StartAgain,
    /// It was cut off, or the other side is in trouble; another try may help.
    Cut(String),
    /// Another try will not help.
    Refused(String),
}

/// A file on its way.
struct Download<'a> {
    url: &'a str,
    part: PathBuf,
    /// What the server said identifies the file that `part` is the beginning of.
    validator: PathBuf,
    cache: &'a Cache,
    progress: &'a Progress,
}

impl<'a> Download<'a> {
    fn new(url: &'a str, name: &str, cache: &'a Cache, progress: &'a Progress) -> Self {
        let file = |suffix: &str| cache.downloads().join(format!("{name}.{suffix}"));
        Self {
            url,
            part: file("part"),
            validator: file("validator"),
            cache,
            progress,
        }
    }

    fn to_the_end(&self) -> Result<()> {
        let mut idle = 0;
        loop {
            let before = self.length();
            let why = match self.run()? {
                Step::Done => return Ok(()),
                Step::StartAgain if before > 0 => {
                    self.forget()?;
                    continue;
                }
                Step::StartAgain => "the server sends no file".to_owned(),
                Step::Refused(why) => return Err(self.failure(&why)),
                Step::Cut(why) => why,
            };
            idle = if self.length() > before { 0 } else { idle + 1 };
            if idle == TRIES {
                return Err(self.failure(&why));
            }
            pause(RETRY_PAUSE)?;
        }
    }

    fn failure(&self, why: &str) -> anyhow::Error {
        let kept = self.length();
        let rest = if kept > 0 {
            format!("{kept} bytes of it are kept: run the command again to go on from there, or")
        } else {
            "check the URL and the network, or".to_owned()
        };
        anyhow!(
            "cannot download {}: {why}\n{rest} fetch the file by other means and give it as `path`",
            self.url
        )
    }

    /// Runs curl once, from where the file ends now.
    fn run(&self) -> Result<Step> {
        let scratch = self.cache.scratch()?;
        let log = scratch.path().join("curl.log");
        let headers = scratch.path().join("headers");
        let mut job = Job::new("curl", DOWNLOAD_LIMIT)
            .args(["--fail", "--location", "--silent", "--show-error"])
            .args(["--connect-timeout", "30"])
            // A connection that gives nothing for so long is as good as cut.
            .args(["--speed-limit", "1", "--speed-time", "60"])
            .args(["--continue-at", "-"])
            .args(["--dump-header".as_ref(), headers.as_os_str()])
            .args(["--output".as_ref(), self.part.as_os_str()])
            .log(&log);
        if let Ok(validator) = fs::read_to_string(&self.validator)
            && self.length() > 0
        {
            // The server then sends the rest only if it is the rest of the same file.
            job = job.args(["--header".to_owned(), format!("If-Range: {validator}")]);
        }
        let child = job.args(["--", self.url]).start()?;
        let name = format!("downloading {}", self.url);
        let ending = watch(child, &self.part, 0, &name, self.progress)?;
        let headers = fs::read(&headers).unwrap_or_default();
        if let Some(validator) = validator_of(&String::from_utf8_lossy(&headers)) {
            write_whole(&self.validator, validator.as_bytes())?;
        }
        let said = tail_of(&log, 1);
        Ok(match ending {
            Ending::Exited(status) => step_of(status.code().unwrap_or(-1), said),
            Ending::DeadlinePassed => Step::Refused("it takes too long".to_owned()),
        })
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.part).map_or(0, |data| data.len())
    }

    fn forget(&self) -> Result<()> {
        remove(&self.part)?;
        remove(&self.validator)
    }
}

/// What curl's exit status means; its manual lists them.
fn step_of(status: i32, said: String) -> Step {
    match status {
        0 => Step::Done,
        22 => match said.rsplit("error: ").next().unwrap_or_default().trim() {
            "416" => Step::StartAgain,
            code if code == "408" || code == "429" || code.starts_with('5') => Step::Cut(said),
            _ => Step::Refused(said),
        },
        // No ranges, or not this one.
        33 | 36 => Step::StartAgain,
        // No name, no connection, cut, too slow, TLS, nothing sent, reset, HTTP/2.
        5 | 6 | 7 | 18 | 28 | 35 | 52 | 55 | 56 | 92 => Step::Cut(said),
        _ => Step::Refused(said),
    }
}

/// What identifies a file among its versions: a strong ETag, else its date.
fn validator_of(headers: &str) -> Option<String> {
    // After redirects only the last answer is about the file.
    let last = headers.rsplit("HTTP/").next()?;
    if !last.split_whitespace().nth(1)?.starts_with('2') {
        return None;
    }
    let field = |wanted: &str| {
        last.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            (name.eq_ignore_ascii_case(wanted) && !value.starts_with("W/"))
                .then(|| value.to_owned())
        })
    };
    field("etag").or_else(|| field("last-modified"))
}

fn pause(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if interrupted() {
            return Err(Interrupted.into());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Waits for a downloading child and shows how far its file is; `bytes` 0: length unknown.
///
/// # Errors
/// [`crate::process::Interrupted`].
pub fn watch(
    child: Child,
    file: &Path,
    bytes: u64,
    name: &str,
    progress: &Progress,
) -> Result<Ending> {
    const MEGABYTE: u64 = 1_000_000;
    let task = progress.task(name, bytes / MEGABYTE);
    child.wait_with(|| {
        let so_far = fs::metadata(file).map_or(0, |data| data.len());
        task.set(so_far / MEGABYTE, format!("{} MB", so_far / MEGABYTE));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    const BODY: &str = "0123456789abcdefghij";

    /// How the server answers one request.
    #[derive(Clone, Copy)]
    enum Answer {
        /// All of the body, or the range that was asked for.
        Whole(&'static str),
        /// The same, but the connection is cut after so many bytes.
        CutAfter(usize, &'static str),
        /// The whole body, whatever range was asked for.
        NoRanges,
        Status(&'static str),
    }

    /// Answers requests one after the other; what they asked for is kept.
    fn serve(answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/linux.tar", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for (stream, answer) in listener.incoming().zip(answers) {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                while reader.read_line(&mut request).unwrap() > 2 {}
                log.lock().unwrap().push(request.clone());
                stream.write_all(&respond(answer, &request)).unwrap();
            }
        });
        (url, asked)
    }

    fn respond(answer: Answer, request: &str) -> Vec<u8> {
        let field = |name: &str| request.lines().find_map(|line| line.strip_prefix(name));
        let start: usize = field("Range: bytes=")
            .and_then(|range| range.trim_end_matches('-').parse().ok())
            .unwrap_or(0);
        let (sent, etag) = match answer {
            Answer::Whole(etag) => (usize::MAX, etag),
            Answer::CutAfter(bytes, etag) => (bytes, etag),
            Answer::NoRanges => return whole("200 OK", BODY),
            Answer::Status(status) => return whole(status, ""),
        };
        let is_same = field("If-Range: ").is_none_or(|wanted| wanted == etag);
        let start = if is_same { start } else { 0 };
        let (status, body) = match start {
            0 => ("200 OK".to_owned(), BODY),
            _ => (
                format!(
                    "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}",
                    BODY.len() - 1,
                    BODY.len()
                ),
                &BODY[start..],
            ),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: {etag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body.as_bytes()[..sent.min(body.len())]].concat()
    }

    fn whole(status: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .into_bytes()
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        (dir, cache)
    }

    fn fetched(url: &str, cache: &Cache) -> String {
        let digest = sha256_hex(BODY.as_bytes());
        let file = fetch(url, &digest, cache, &Progress::detect()).unwrap();
        fs::read_to_string(file).unwrap()
    }

    #[test]
    fn a_download_is_kept_under_its_digest_and_not_fetched_again() {
        let (_dir, cache) = cache();
        let (url, _) = serve(vec![Answer::Whole("\"1\"")]);
        for _ in 0..2 {
            assert_eq!(fetched(&url, &cache), BODY);
        }
        assert_eq!(fs::read_dir(cache.downloads()).unwrap().count(), 1);
    }

    #[test]
    fn a_cut_download_goes_on_where_it_stopped() {
        let (_dir, cache) = cache();
        let (url, asked) = serve(vec![
            Answer::CutAfter(7, "\"1\""),
            Answer::CutAfter(5, "\"1\""),
            Answer::Whole("\"1\""),
        ]);
        assert_eq!(fetched(&url, &cache), BODY);
        let asked = asked.lock().unwrap();
        assert!(asked[1].contains("Range: bytes=7-"), "{}", asked[1]);
        assert!(asked[2].contains("Range: bytes=12-"), "{}", asked[2]);
        assert!(asked[2].contains("If-Range: \"1\""), "{}", asked[2]);
    }

    #[test]
    fn the_rest_of_another_file_is_not_taken() {
        let (_dir, cache) = cache();
        let (url, asked) = serve(vec![
            Answer::CutAfter(7, "\"old\""),
            Answer::Whole("\"new\""),
            Answer::Whole("\"new\""),
        ]);
        assert_eq!(fetched(&url, &cache), BODY);
        assert!(!asked.lock().unwrap()[2].contains("Range:"));
    }

    #[test]
    fn a_server_without_ranges_is_asked_for_the_whole_file() {
        let (_dir, cache) = cache();
        let (url, _) = serve(vec![
            Answer::CutAfter(7, "\"1\""),
            Answer::NoRanges,
            Answer::NoRanges,
        ]);
        assert_eq!(fetched(&url, &cache), BODY);
    }

    #[test]
    fn what_an_earlier_run_left_is_gone_on_with_and_wrong_leftovers_are_dropped() {
        let (_dir, cache) = cache();
        let part = |cache: &Cache| {
            let digest = sha256_hex(BODY.as_bytes());
            cache.downloads().join(format!("{digest}.part"))
        };
        for (left, answers) in [
            ("0123", vec![Answer::Whole("\"1\"")]),
            ("wrong", vec![Answer::Whole("\"1\""); 2]),
            (
                BODY,
                vec![
                    Answer::Status("416 Range Not Satisfiable"),
                    Answer::Whole("\"1\""),
                ],
            ),
        ] {
            fs::write(part(&cache), left).unwrap();
            let (url, _) = serve(answers);
            assert_eq!(fetched(&url, &cache), BODY, "{left}");
            discard(&sha256_hex(BODY.as_bytes()), &cache).unwrap();
        }
    }

    #[test]
    fn a_server_that_only_cuts_is_given_up_and_what_came_is_kept() {
        let (_dir, cache) = cache();
        let mut answers = vec![Answer::CutAfter(7, "\"1\"")];
        answers.extend([Answer::CutAfter(0, "\"1\""); 3]);
        let (url, _) = serve(answers);
        let digest = sha256_hex(BODY.as_bytes());
        let error = fetch(&url, &digest, &cache, &Progress::detect()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("7 bytes of it are kept: run the command again"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_digest_names_both_and_keeps_nothing() {
        let (_dir, cache) = cache();
        let (url, _) = serve(vec![Answer::Whole("\"1\"")]);
        let wanted = sha256_hex(b"content");
        let error = fetch(&url, &wanted, &cache, &Progress::detect()).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains(&wanted) && text.contains(&sha256_hex(BODY.as_bytes())),
            "{text}"
        );
        assert_eq!(fs::read_dir(cache.downloads()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_without_a_published_digest_has_to_stay_what_it_was_at_first() {
        let (_dir, cache) = cache();
        let progress = Progress::detect();
        let (url, asked) = serve(vec![Answer::CutAfter(7, "\"1\""), Answer::Whole("\"1\"")]);
        for _ in 0..2 {
            let digest = digest_of_first_use(&url, &cache, &progress).unwrap();
            assert_eq!(digest, sha256_hex(BODY.as_bytes()));
            assert_eq!(fetched(&url, &cache), BODY);
        }
        assert_eq!(asked.lock().unwrap().len(), 2);
        // Fetched again, it is held against that digest.
        discard(&sha256_hex(BODY.as_bytes()), &cache).unwrap();
        let digest = digest_of_first_use(&url, &cache, &progress).unwrap();
        let (other, _) = serve(vec![Answer::Status("200 OK")]);
        let error = fetch(&other, &digest, &cache, &progress).unwrap_err();
        assert!(format!("{error:#}").contains(&digest), "{error:#}");
    }

    #[test]
    fn a_missing_file_says_what_the_server_said_and_what_to_do() {
        let (_dir, cache) = cache();
        let (url, _) = serve(vec![Answer::Status("404 Not Found")]);
        let error = fetch(&url, &sha256_hex(b"x"), &cache, &Progress::detect()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("404") && text.contains("`path`"), "{text}");
    }
}
