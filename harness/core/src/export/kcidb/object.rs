//! Objects of a submission. Their fields are those of the schema, which says what they mean.

use serde::Serialize;
use serde_json::Value;

/// Where the source of a kernel is from.
#[derive(Serialize)]
pub struct Checkout {
    pub id: String,
    pub origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit_hash: Option<String>,
    pub comment: String,
    pub valid: bool,
}

/// A kernel that was built of a checkout.
#[derive(Serialize)]
pub struct Build {
    pub id: String,
    pub checkout_id: String,
    pub origin: String,
    pub comment: String,
    pub architecture: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiler: Option<String>,
    pub status: Status,
}

/// A test of a build, or all of one kind.
#[derive(Serialize)]
pub struct Test {
    pub id: String,
    pub build_id: String,
    pub origin: String,
    pub environment: Value,
    pub path: String,
    pub comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_excerpt: Option<String>,
    pub status: Status,
    pub start_time: String,
    pub duration: f64,
    pub misc: Value,
}

/// A fault that somebody has filed.
#[derive(Serialize)]
pub struct Issue {
    pub id: String,
    pub version: u32,
    pub origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_url: Option<String>,
    pub report_subject: String,
    pub culprit: Value,
    pub comment: String,
}

/// A test that showed an issue.
#[derive(Serialize)]
pub struct Incident {
    pub id: String,
    pub origin: String,
    pub issue_id: String,
    pub issue_version: u32,
    pub test_id: String,
    pub present: bool,
}

/// What became of a kernel in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// The kernel is faulty.
    Fail,
    /// The test did not run, for the harness's sake.
    Miss,
    /// The kernel is right, as far as the test goes.
    Pass,
    /// The test ran, and says nothing about the kernel.
    Done,
}
