//! The kernel's log buffer.

use std::ptr;

/// syslog(2): read all messages that are left in the ring buffer.
const SYSLOG_ACTION_READ_ALL: libc::c_int = 3;
/// syslog(2): size of the ring buffer.
const SYSLOG_ACTION_SIZE_BUFFER: libc::c_int = 10;

/// Everything that is left in the log; empty when the kernel keeps none.
pub fn text() -> String {
    // SAFETY: this action ignores the buffer.
    let size = unsafe { libc::klogctl(SYSLOG_ACTION_SIZE_BUFFER, ptr::null_mut(), 0) };
    let mut bytes = vec![0u8; usize::try_from(size).unwrap_or(0)];
    // SAFETY: the buffer is as long as is said.
    let length = unsafe {
        libc::klogctl(
            SYSLOG_ACTION_READ_ALL,
            bytes.as_mut_ptr().cast(),
            size.max(0),
        )
    };
    bytes.truncate(usize::try_from(length).unwrap_or(0));
    String::from_utf8_lossy(&bytes).into_owned()
}
