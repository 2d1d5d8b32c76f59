//! Downloads with the `curl` program: it brings TLS, the machine's certificates and its proxy
//! settings, all of which a static binary would have to carry and keep up to date itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::cache::Cache;
use super::source::check_sha256;
use crate::process::{Child, Ending, Job, tail_of};
use crate::progress::Progress;

/// Longest download.
pub const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Fetches a URL into the cache's downloads and checks its digest. A download that was interrupted
/// goes on where it stopped.
///
/// # Errors
/// When it cannot be fetched, or has another digest (then it is not kept).
pub fn fetch(url: &str, sha256: &str, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let done = cache.downloads().join(sha256);
    if done.is_file() {
        return Ok(done);
    }
    let part = cache.downloads().join(format!("{sha256}.part"));
    let log = cache.scratch()?;
    let log_file = log.path().join("curl.log");
    let child = Job::new("curl", DOWNLOAD_LIMIT)
        .args(["--fail", "--location", "--silent", "--show-error"])
        .args([
            "--retry",
            "3",
            "--connect-timeout",
            "30",
            "--continue-at",
            "-",
        ])
        .args(["--output".as_ref(), part.as_os_str()])
        .args(["--", url])
        .log(&log_file)
        .start()?;
    let ending = watch(child, &part, 0, &format!("downloading {url}"), progress)?;
    if !matches!(ending, Ending::Exited(status) if status.success()) {
        return Err(anyhow!("cannot download {url}: {}", tail_of(&log_file, 1)));
    }
    if let Err(error) = check_sha256(&part, sha256) {
        fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
        return Err(error.context(format!("downloaded {url}")));
    }
    fs::rename(&part, &done).with_context(|| format!("cannot rename {}", part.display()))?;
    Ok(done)
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
    use kverdict_core::catalogue::key::sha256_hex;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// Serves one body, `count` times, and returns its URL.
    fn serve(status: &'static str, body: &'static str, count: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/linux.tar", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().take(count) {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
            }
        });
        url
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        (dir, cache)
    }

    #[test]
    fn a_download_is_kept_under_its_digest_and_not_fetched_again() {
        let (_dir, cache) = cache();
        let url = serve("200 OK", "content", 1);
        let digest = sha256_hex(b"content");
        for _ in 0..2 {
            let file = fetch(&url, &digest, &cache, &Progress::detect()).unwrap();
            assert_eq!(fs::read(file).unwrap(), b"content");
        }
    }

    #[test]
    fn a_wrong_digest_names_both_and_keeps_nothing() {
        let (_dir, cache) = cache();
        let url = serve("200 OK", "other", 1);
        let wanted = sha256_hex(b"content");
        let error = fetch(&url, &wanted, &cache, &Progress::detect()).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains(&wanted) && text.contains(&sha256_hex(b"other")),
            "{text}"
        );
        assert_eq!(fs::read_dir(cache.downloads()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_file_says_what_the_server_said() {
        let (_dir, cache) = cache();
        let url = serve("404 Not Found", "", 1);
        let error = fetch(&url, &sha256_hex(b"x"), &cache, &Progress::detect()).unwrap_err();
        assert!(error.to_string().contains("404"), "{error:#}");
    }
}
