//! A lockup made on purpose, by QEMU's gdb stub: works on every kernel, also on one that nobody may
//! patch.
//!
//! One idle vCPU is pointed at `cli; pause; jmp` in the kernel's own text. From then on it is what a
//! hard lockup is: in the kernel, interrupts off, going nowhere. No guest program could do that on
//! every kernel: since v5.5 even `iopl()` no longer lets user space turn interrupts off, and test
//! modules such as lkdtm are not in vendor builds.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::layout;
use crate::qmp::{self, Monitor};

/// `cli; 1: pause; jmp 1b`.
const SPIN: [u8; 5] = [0xfa, 0xf3, 0x90, 0xeb, 0xfc];
/// A function that every kernel has and no guest of ours runs; the spin overwrites its start.
pub const PLACE: &str = "ctrl_alt_del";
/// How long to wait for an idle vCPU.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries to find the vCPU idle.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest packet that is read.
const PACKET_BYTES_MAX: usize = 1 << 16;
/// Numbers of the gdb protocol's x86-64 registers.
const RIP: u8 = 16;

/// Locks up one vCPU, at the address of [`PLACE`]. Returns the function whose place the spin took.
///
/// # Errors
/// When that address is not known, the stub does not answer, or the vCPU is never found
/// idle in the kernel.
pub fn lock_up(
    monitor: &mut Monitor,
    folder: &Path,
    vcpu: u32,
    place: Option<u64>,
) -> Result<&'static str> {
    let address = place.with_context(|| format!("the address of {PLACE}() is not known"))?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = monitor.human(
            &format!("gdbserver unix:{},server=on,wait=off", layout::GDB),
            None,
        )?;
        if !answer.contains("Waiting for gdb") {
            bail!("QEMU's gdb stub: {}", answer.trim());
        }
        // Being connected to stops the guest, detaching lets it run.
        let mut stub = Stub::connect(&folder.join(layout::GDB))?;
        let idle = monitor
            .vcpus()?
            .iter()
            .any(|v| v.index == vcpu && v.registers.in_kernel() && v.registers.halted);
        if idle {
            stub.choose(vcpu)?;
            stub.write_memory(address, &SPIN)?;
            stub.write_register(RIP, address)?;
        }
        stub.detach()?;
        monitor.human("gdbserver none", None)?;
        if idle {
            return Ok(PLACE);
        }
        if Instant::now() > deadline {
            bail!(
                "vCPU {vcpu} was never found idle within {} s",
                DEADLINE.as_secs()
            );
        }
        std::thread::sleep(PAUSE);
    }
}

/// A connection to the stub: the part of gdb's remote protocol that this takes.
struct Stub {
    stream: BufReader<UnixStream>,
}

impl Stub {
    fn connect(path: &Path) -> Result<Self> {
        let stream = qmp::open_socket(path).context("QEMU's gdb stub")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut stub = Self {
            stream: BufReader::new(stream),
        };
        // Answered once the guest stands still.
        stub.send("?")?;
        stub.answer()?;
        // QEMU takes writes to single registers only from those who asked what these are called.
        stub.send("qXfer:features:read:target.xml:0,1000")?;
        while stub.answer()?.starts_with('T') {}
        Ok(stub)
    }

    /// The stub numbers threads from 1.
    fn choose(&mut self, vcpu: u32) -> Result<()> {
        self.ask_ok(&format!("Hg{:x}", vcpu + 1))
    }

    fn write_memory(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.ask_ok(&format!("M{at:x},{:x}:{}", bytes.len(), hex(bytes)))
    }

    fn write_register(&mut self, number: u8, value: u64) -> Result<()> {
        self.ask_ok(&format!("P{number:x}={}", hex(&value.to_le_bytes())))
    }

    fn detach(&mut self) -> Result<()> {
        self.ask_ok("D")
    }

    fn ask_ok(&mut self, request: &str) -> Result<()> {
        self.send(request)?;
        loop {
            match self.answer()?.as_str() {
                "OK" => return Ok(()),
                // That the guest stopped is said once for being connected to, too.
                stopped if stopped.starts_with('T') => {}
                other => bail!("QEMU's gdb stub answered `{other}` to `{request}`"),
            }
        }
    }

    /// Sends `$request#sum`.
    fn send(&mut self, request: &str) -> Result<()> {
        let packet = format!("${request}#{:02x}", sum(request.as_bytes()));
        Ok(self.stream.get_mut().write_all(packet.as_bytes())?)
    }

    /// Reads `$answer#sum`, skipping acknowledgements, and acknowledges it.
    fn answer(&mut self) -> Result<String> {
        let mut answer = Vec::new();
        while self.byte()? != b'$' {}
        loop {
            match self.byte()? {
                b'#' => break,
                byte => answer.push(byte),
            }
            if answer.len() > PACKET_BYTES_MAX {
                bail!("QEMU's gdb stub: an answer without an end");
            }
        }
        let checksum = [self.byte()?, self.byte()?];
        if checksum != format!("{:02x}", sum(&answer)).as_bytes() {
            bail!("QEMU's gdb stub: an answer with a wrong checksum");
        }
        self.stream.get_mut().write_all(b"+")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.stream
            .read_exact(&mut byte)
            .context("QEMU's gdb stub")?;
        Ok(byte[0])
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
