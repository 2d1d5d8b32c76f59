//! The plugin as QEMU sees it: its API from version 1 on (QEMU 6.0 and newer), as far as it is used.
//! See <https://www.qemu.org/docs/master/devel/tcg-plugins.html> and `qemu-plugin.h`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use crate::board::{self, Board};
use crate::places::{Place, Places};
use crate::race::{CPUS, Limits, Race};

/// The API's version, and marked, so that the program can put the version in that its QEMU asks for:
/// what is used here is the same in all. QEMU reads an `int` at this symbol.
#[repr(C)]
struct Version {
    version: c_int,
    marker: [u8; 16],
}

#[unsafe(no_mangle)]
#[used]
static qemu_plugin_version: Version = Version {
    version: 1,
    marker: *b"kverdict holder\0",
};

#[repr(C)]
struct Block(c_void);
#[repr(C)]
struct Instruction(c_void);

type OnExecution = extern "C" fn(c_uint, *mut c_void);
type OnAccess = extern "C" fn(c_uint, u32, u64, *mut c_void);

/// `QEMU_PLUGIN_CB_NO_REGS`
const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_MEM_RW`. Loads alone are not reported by QEMU 7.2 when they are asked for as such.
const READ_AND_WRITE: c_int = 3;
/// From `mman.h`.
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: extern "C" fn(u64, *mut Block));
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnExecution,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: OnAccess,
        flags: c_int,
        kind: c_int,
        data: *mut c_void,
    );
    fn mmap(
        address: *mut c_void,
        bytes: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
}

/// What the callbacks work on; there is one guest.
struct Holder {
    places: Places,
    offsets: std::ops::Range<u64>,
    race: Race<'static>,
}

static HOLDER: OnceLock<Holder> = OnceLock::new();

/// Called by QEMU before the guest starts, with the plugin's arguments.
///
/// # Safety
/// `argv` has to hold `argc` strings, as QEMU gives them.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let arguments = (0..argc as usize).map(|index| {
        // SAFETY: QEMU's array has that many strings.
        let text = unsafe { CStr::from_ptr(*argv.add(index)) };
        text.to_string_lossy().into_owned()
    });
    match Holder::new(&arguments.collect::<Vec<_>>()) {
        Ok(holder) => {
            // QEMU installs a plugin once.
            let _ = HOLDER.set(holder);
            // SAFETY: the id is ours, and the callback is never unloaded.
            unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation) };
            0
        }
        Err(why) => {
            eprintln!("kverdict's holder: {why}");
            -1
        }
    }
}

impl Holder {
    fn new(arguments: &[String]) -> Result<Self, String> {
        let value = |name: &str| {
            let found = arguments.iter().find_map(|one| one.strip_prefix(name));
            found.ok_or_else(|| format!("no argument {name}"))
        };
        let limit = |name: &str| {
            let text = value(name)?;
            let us = text
                .parse()
                .map_err(|_| format!("{name}{text} is no number"))?;
            Ok::<_, String>(Duration::from_micros(us))
        };
        let file = value("places=")?;
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let places = Places::parse(&text).map_err(|why| format!("{file}: {why}"))?;
        let offsets = places.range(Place::PerCpuOffset).unwrap_or_default();
        let limits = Limits {
            swap: limit("swap_us=")?,
            balance: limit("balance_us=")?,
        };
        Ok(Self {
            race: Race::new(board(value("board=")?)?, limits),
            offsets: offsets.start..offsets.start + 8 * CPUS as u64,
            places,
        })
    }

    /// The CPU whose per-CPU offset is at this address.
    fn cpu_of_offset(&self, address: u64) -> Option<usize> {
        let is_one = self.offsets.contains(&address);
        is_one.then(|| ((address - self.offsets.start) / 8) as usize)
    }
}

/// Maps the file that the program made.
fn board(path: &str) -> Result<&'static Board, String> {
    let what = |error: std::io::Error| format!("{path}: {error}");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(what)?;
    if file.metadata().map_err(what)?.len() < board::BYTES as u64 {
        return Err(format!("{path}: shorter than {} bytes", board::BYTES));
    }
    // SAFETY: a new mapping at an address that the host's kernel chooses.
    let page = unsafe {
        mmap(
            ptr::null_mut(),
            board::BYTES,
            PROT_READ_WRITE,
            MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if page as isize == -1 {
        return Err(what(std::io::Error::last_os_error()));
    }
    // SAFETY: the mapping is larger than a board, aligned to a page and never unmapped; any bytes are
    // valid counters, and all accesses are atomic.
    Ok(unsafe { &*page.cast::<Board>() })
}

/// QEMU translates a block of the guest's instructions: those at our places get callbacks.
extern "C" fn on_translation(_id: u64, block: *mut Block) {
    let Some(holder) = HOLDER.get() else { return };
    // SAFETY: QEMU's block, valid during this call, and indices below its length.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            watch(holder, instruction, qemu_plugin_insn_vaddr(instruction));
        }
    }
}

/// # Safety
/// `instruction` has to be of the block that is being translated.
unsafe fn watch(holder: &Holder, instruction: *mut Instruction, address: u64) {
    let entry: Option<OnExecution> = match holder.places.entered(address) {
        Some(Place::ShouldRun) => Some(on_should_run),
        Some(Place::StopperThread) => Some(on_stopper_thread),
        Some(Place::SwitchTo) => Some(on_switch_to),
        Some(Place::StopOneNoWait) => Some(on_stop_one_nowait),
        Some(Place::StopTwo) => Some(on_stop_two),
        Some(Place::WakeUp) => Some(on_wake_up),
        Some(Place::Interrupt) => Some(on_interrupt),
        Some(Place::QueueWork | Place::QueueTwoWorks | Place::PerCpuOffset) | None => None,
    };
    let access: Option<OnAccess> = match holder.places.around(address) {
        Some(Place::StopOneNoWait | Place::QueueWork) => Some(on_access_asking),
        Some(Place::StopTwo | Place::QueueTwoWorks) => Some(on_access_swapping),
        Some(
            Place::ShouldRun
            | Place::StopperThread
            | Place::SwitchTo
            | Place::WakeUp
            | Place::Interrupt
            | Place::PerCpuOffset,
        )
        | None => None,
    };
    // SAFETY: the caller's; the callbacks are never unloaded and take no data.
    unsafe {
        if let Some(callback) = entry {
            qemu_plugin_register_vcpu_insn_exec_cb(
                instruction,
                callback,
                NO_REGISTERS,
                ptr::null_mut(),
            );
        }
        if let Some(callback) = access {
            qemu_plugin_register_vcpu_mem_cb(
                instruction,
                callback,
                NO_REGISTERS,
                READ_AND_WRITE,
                ptr::null_mut(),
            );
        }
    }
}

/// The race and the CPU, if it is one that is kept account of.
fn at(vcpu: c_uint) -> Option<(&'static Holder, usize)> {
    let cpu = vcpu as usize;
    HOLDER
        .get()
        .filter(|_| cpu < CPUS)
        .map(|holder| (holder, cpu))
}

extern "C" fn on_should_run(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.looks_for_work(cpu);
    }
}

extern "C" fn on_stopper_thread(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.works(cpu);
    }
}

extern "C" fn on_switch_to(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.switches(cpu);
    }
}

extern "C" fn on_stop_one_nowait(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.asks_stopper(cpu);
    }
}

extern "C" fn on_stop_two(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.stops_two(cpu);
    }
}

extern "C" fn on_wake_up(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.wakes(cpu);
    }
}

extern "C" fn on_interrupt(vcpu: c_uint, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.is_interrupted(cpu);
    }
}

extern "C" fn on_access_asking(vcpu: c_uint, _info: u32, address: u64, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu)
        && let Some(of) = holder.cpu_of_offset(address)
    {
        holder.race.asked(cpu, of);
    }
}

extern "C" fn on_access_swapping(vcpu: c_uint, _info: u32, address: u64, _data: *mut c_void) {
    if let Some((holder, cpu)) = at(vcpu) {
        holder.race.swapped(cpu, holder.cpu_of_offset(address));
    }
}
