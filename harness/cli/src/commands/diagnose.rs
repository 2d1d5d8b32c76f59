//! `kverdict diagnose`: what a guest's CPUs are doing, read from outside while it runs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use kverdict_core::outside::deadlock;
use kverdict_core::outside::detector::Limits;
use kverdict_core::outside::finding::{Findings, State};
use kverdict_core::outside::kallsyms;
use kverdict_core::outside::memory::{Code, Memory, Recorded, Recorder};
use kverdict_core::outside::percpu::cpu_number;
use kverdict_core::outside::sample::{Line, Sample, Vcpu};
use kverdict_core::outside::stack::Stack;
use kverdict_core::outside::symbols::Symbols;
use kverdict_core::outside::unwind::unwind;
use kverdict_core::outside::watch::Watcher;
use serde::Serialize;

use super::Usage;
use crate::guest_memory::GuestMemory;
use crate::outside::INTERVAL;
use crate::process::{self, Interrupted};
use crate::progress::Progress;
use crate::qmp::Monitor;

const EXIT_FOUND: u8 = 1;
const EXIT_CANNOT_TELL: u8 = 125;
/// Longest banner of a kernel.
const BANNER_BYTES_MAX: usize = 512;

/// Say what a running guest's CPUs do: stacks, stuck CPUs, and who waits for whom
///
/// Attaches to any QEMU guest by its QMP socket, or through libvirt, and changes nothing in it: the
/// guest is neither stopped nor written to. Names come from a symbol file, or from the kernel's own
/// kallsyms, found in the guest's memory. Exit code: 0 nothing is stuck, 1 something is, 125 cannot tell
/// (no kernel runs, or too little CPU time was burned while it watched).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qemu-system-x86_64 ... -qmp unix:/run/vm.qmp,server=on,wait=off
  kverdict diagnose --qmp /run/vm.qmp
  kverdict diagnose --libvirt web3 --symbols System.map --json
  kverdict diagnose --recorded results/RUN/trials/0001-unfixed/vcpus.jsonl --symbols System.map")]
pub struct DiagnoseArgs {
    #[command(flatten)]
    target: Target,
    /// libvirt's connection URI
    #[arg(long, value_name = "URI", requires = "libvirt")]
    connect: Option<String>,
    /// Symbols: System.map, /proc/kallsyms of the guest, or vmlinux [default: found in its memory]
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// How long to watch, in seconds
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// QMP socket of the guest's QEMU
    #[arg(long, value_name = "SOCKET")]
    qmp: Option<PathBuf>,
    /// Domain of libvirt, which keeps its QMP sockets for itself
    #[arg(long, value_name = "DOMAIN")]
    libvirt: Option<String>,
    /// Samples that a trial of kverdict left
    #[arg(long, value_name = "FILE", requires = "symbols")]
    recorded: Option<PathBuf>,
}

/// What there is to say about a guest.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// The kernel's own banner.
    banner: Option<String>,
    /// Where names come from.
    symbols: String,
    /// Every vCPU, as it was at the end.
    cpus: Vec<Cpu>,
    /// What is stuck, and who waits for whom.
    findings: Findings,
}

/// One vCPU.
#[derive(Debug, Serialize)]
struct Cpu {
    vcpu: u32,
    /// Linux' number, as far as it can be read.
    cpu: Option<u32>,
    doing: &'static str,
    interrupts_on: bool,
    /// Part of the watched time that its thread spent on the host's CPUs.
    busy: Option<f64>,
    /// Innermost function first; empty in user space.
    stack: Stack,
}

/// Runs the command.
///
/// # Errors
/// When the guest cannot be reached, or a file cannot be read.
pub fn run(args: &DiagnoseArgs) -> Result<ExitCode> {
    let diagnosis = if let Some(path) = &args.target.recorded {
        let symbols = args.symbols.as_deref().context("clap requires --symbols")?;
        replay(path, read_symbols(symbols)?)?
    } else {
        attach(args)?
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&diagnosis)?);
    } else {
        print!("{}", describe(&diagnosis));
    }
    Ok(ExitCode::from(exit_code(&diagnosis.findings)))
}

fn exit_code(findings: &Findings) -> u8 {
    match findings.state {
        State::Stuck | State::Stopped => EXIT_FOUND,
        State::Moving | State::Idle => 0,
        State::Unwatched | State::Booting | State::NotRunning => EXIT_CANNOT_TELL,
    }
}

fn attach(args: &DiagnoseArgs) -> Result<Diagnosis> {
    let progress = Progress::detect();
    let mut monitor = match (&args.target.qmp, &args.target.libvirt) {
        (Some(socket), _) => Monitor::connect(socket)?,
        (None, Some(domain)) => Monitor::through_libvirt(args.connect.clone(), domain)?,
        (None, None) => unreachable!("clap requires one of them"),
    };
    let task = progress.task("diagnose", args.seconds);
    task.set(0, "looking for symbols");
    let (symbols, origin) = find_symbols(&mut monitor, args.symbols.as_deref())?;
    let code = Code::new(symbols.text());
    let mut watcher = Watcher::new(symbols, Limits::default());
    let start = Instant::now();
    let mut first: Option<Sample> = None;
    let last = loop {
        let sample = monitor.sample(start.elapsed().as_millis() as u64)?;
        let suspects = watcher.sample(&sample);
        if let Some(one) = suspects.first() {
            let memory = GuestMemory::new(&mut monitor, one.index);
            watcher.look(sample.at_ms, &suspects, &Recorder::new(&memory, &code));
        }
        first.get_or_insert_with(|| sample.clone());
        if start.elapsed() >= Duration::from_secs(args.seconds) {
            break sample;
        }
        if process::interrupted() {
            return Err(Interrupted.into());
        }
        task.set(start.elapsed().as_secs(), "watching");
        std::thread::sleep(INTERVAL);
    };
    task.finish(format!(
        "watched for {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    let reader = last.vcpu_in_kernel().map_or(0, |vcpu| vcpu.index);
    let memory = GuestMemory::new(&mut monitor, reader);
    let memory = Recorder::new(&memory, &code);
    Ok(Diagnosis {
        banner: banner(watcher.symbols(), &memory),
        symbols: origin,
        cpus: cpus(first.as_ref(), &last, watcher.symbols(), &memory),
        findings: watcher.findings().clone(),
    })
}

fn find_symbols(monitor: &mut Monitor, file: Option<&Path>) -> Result<(Symbols, String)> {
    let symbols = file.map(read_symbols).transpose()?;
    let vcpu = vcpu_in_kernel(monitor)?;
    match (symbols, file, vcpu) {
        (Some(symbols), Some(path), Some(vcpu)) => moved(symbols, path, monitor, &vcpu),
        (Some(symbols), Some(path), None) => Ok((
            symbols,
            format!(
                "{}, as they are: no vCPU was seen in a kernel",
                path.display()
            ),
        )),
        (_, _, Some(vcpu)) => {
            let memory = GuestMemory::in_bulk(monitor, vcpu.index);
            Ok(
                match kallsyms::from_guest(vcpu.registers.idt_base, &memory) {
                    Ok(symbols) => (symbols, "the kernel's kallsyms, found in memory".to_owned()),
                    Err(why) => (Symbols::default(), format!("none: {why}")),
                },
            )
        }
        (_, _, None) => Ok((
            Symbols::default(),
            "none: no vCPU was seen in a kernel".to_owned(),
        )),
    }
}

/// A guest whose vCPUs are all in user space at this moment will not be so for long.
fn vcpu_in_kernel(monitor: &mut Monitor) -> Result<Option<Vcpu>> {
    for _ in 0..20 {
        let vcpus = monitor.vcpus()?;
        let found = vcpus.into_iter().find(|vcpu| vcpu.registers.in_kernel());
        if found.is_some() {
            return Ok(found);
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(None)
}

/// Symbols of a file at the addresses where this boot has them.
fn moved(
    symbols: Symbols,
    path: &Path,
    monitor: &mut Monitor,
    vcpu: &Vcpu,
) -> Result<(Symbols, String)> {
    let memory = GuestMemory::new(monitor, vcpu.index);
    let Some(shift) = kallsyms::shift(&symbols, vcpu.registers.idt_base, &memory) else {
        return Err(Usage(format!(
            "symbols {}: not of the kernel that runs in this guest (its page fault handler is elsewhere); \
             leave --symbols out to use the kernel's own",
            path.display()
        ))
        .into());
    };
    let origin = format!("{}, moved by {shift:#x}", path.display());
    Ok((symbols.shifted(shift), origin))
}

/// Reads System.map, a copy of /proc/kallsyms, or vmlinux.
///
/// # Errors
/// When it is none of these.
pub fn read_symbols(path: &Path) -> Result<Symbols> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| {
        Usage(format!("cannot read symbols {shown}: {error}; give a System.map, a copy of /proc/kallsyms, or a vmlinux"))
    })?;
    if bytes.starts_with(b"\x7fELF") {
        return Symbols::from_elf(&bytes).with_context(|| format!("symbols {shown}"));
    }
    let text = String::from_utf8_lossy(&bytes);
    let symbols = Symbols::from_system_map(&text)
        .map_err(|error| Usage(format!("symbols {shown}: {error}")))?;
    if symbols.is_empty() {
        return Err(Usage(format!(
            "symbols {shown}: no functions in it{}",
            stub_hint(&text)
        ))
        .into());
    }
    Ok(symbols)
}

/// Debian's `/boot/System.map-*` is one line that says where to find the real one.
fn stub_hint(text: &str) -> &'static str {
    match text.contains("The real System.map is in") {
        true => {
            " (Debian's placeholder); leave --symbols out to use the kernel's own, or take the real one \
             from its -dbg package"
        }
        false => "",
    }
}

/// The kernel's `linux_banner`.
fn banner(symbols: &Symbols, memory: &dyn Memory) -> Option<String> {
    let at = symbols.address("linux_banner")?;
    let mut bytes = vec![0; BANNER_BYTES_MAX];
    memory.read(at, &mut bytes).then_some(())?;
    let text = bytes.split(|byte| *byte == b'\n' || *byte == 0).next()?;
    let text = String::from_utf8_lossy(text).into_owned();
    text.starts_with("Linux version").then_some(text)
}

fn cpus(first: Option<&Sample>, last: &Sample, symbols: &Symbols, memory: &dyn Memory) -> Vec<Cpu> {
    let busy = |vcpu: &Vcpu| {
        let first = first?;
        let before = first.vcpus.iter().find(|other| other.index == vcpu.index)?;
        let burned = vcpu.cpu_time_ns?.checked_sub(before.cpu_time_ns?)?;
        let watched_ms = last.at_ms.checked_sub(first.at_ms).filter(|ms| *ms > 0)?;
        Some(burned as f64 / 1e6 / watched_ms as f64)
    };
    let describe = |vcpu: &Vcpu| {
        let registers = &vcpu.registers;
        let in_kernel = registers.in_kernel();
        Cpu {
            vcpu: vcpu.index,
            cpu: cpu_number(registers, symbols, memory),
            doing: match (registers.halted, in_kernel, registers.cpl) {
                (true, _, _) => "waits in HLT",
                (false, true, _) => "runs the kernel",
                (false, false, 3) => "runs a program",
                (false, false, _) => "runs firmware or a boot loader",
            },
            interrupts_on: registers.interrupts_on(),
            busy: busy(vcpu),
            stack: if in_kernel {
                unwind(registers, symbols, memory)
            } else {
                Stack::default()
            },
        }
    };
    last.vcpus.iter().map(describe).collect()
}

/// Feeds what a trial stored, line by line, as if it happened now.
fn replay(path: &Path, symbols: Symbols) -> Result<Diagnosis> {
    let shown = path.display();
    let file =
        File::open(path).map_err(|error| Usage(format!("cannot read samples {shown}: {error}")))?;
    let mut watcher = Watcher::new(symbols, Limits::default());
    let mut memory = Recorded::default();
    let (mut first, mut last) = (None, None);
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| shown.to_string())?;
        match serde_json::from_str(&line) {
            Ok(Line::Sample(sample)) => {
                watcher.sample(&sample);
                first.get_or_insert_with(|| sample.clone());
                last = Some(sample);
            }
            Ok(Line::Look(look)) => {
                // Code is recorded by the first look at it only; of anything else the last word counts.
                memory.add(&look.memory);
                watcher.look(look.at_ms, &look.vcpus, &memory);
            }
            Err(error) => {
                return Err(Usage(format!(
                    "{shown}:{}: no sample of vCPUs: {error}",
                    number + 1
                ))
                .into());
            }
        }
    }
    let last = last.ok_or_else(|| Usage(format!("{shown}: no samples in it")))?;
    Ok(Diagnosis {
        banner: None,
        symbols: "as given".to_owned(),
        cpus: cpus(first.as_ref(), &last, watcher.symbols(), &memory),
        findings: watcher.findings().clone(),
    })
}

fn describe(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{words}");
    };
    if let Some(banner) = &diagnosis.banner {
        line(format_args!("{banner}"));
    }
    line(format_args!("symbols: {}", diagnosis.symbols));
    for cpu in &diagnosis.cpus {
        let number = cpu
            .cpu
            .map_or(String::new(), |number| format!(" (CPU {number})"));
        let busy = cpu.busy.map_or("CPU time unknown".to_owned(), |busy| {
            format!("{:.0}% of a host CPU", busy * 100.0)
        });
        let interrupts = if cpu.interrupts_on { "on" } else { "off" };
        line(format_args!(
            "\nvCPU {}{number}: {}, interrupts {interrupts}, {busy}",
            cpu.vcpu, cpu.doing
        ));
        for frame in &cpu.stack.frames {
            line(format_args!("    {frame}"));
        }
    }
    let findings = &diagnosis.findings;
    line(format_args!(
        "\n{} ({} samples, {} closer looks)",
        findings.state, findings.watch.samples, findings.watch.looks
    ));
    for stuck in &findings.stuck {
        line(format_args!("  {stuck}"));
    }
    text + &deadlock::text(&findings.stuck, &findings.graph)
}
