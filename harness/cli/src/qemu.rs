//! QEMU's command line: small functions from the campaign's guest to arguments.

use std::path::{Path, PathBuf};

use kverdict_core::campaign::{Guest, Node};

use crate::boot_path::BootPath;
use crate::holder::Holder;
use crate::layout;

/// The emulator that is run.
pub const QEMU: &str = "qemu-system-x86_64";

/// What QEMU may not do, however a guest got hold of it: it needs no further process, no other rights,
/// and no system calls of long ago.
const SANDBOX: &str =
    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// How instructions run, after `auto` was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acceleration {
    /// Hardware virtualization.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl std::fmt::Display for Acceleration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// Where the guest's serial ports go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Both into files of the trial's folder, QMP on a socket there.
    Files,
    /// The console on the terminal, multiplexed with QEMU's monitor (Ctrl-a x ends it).
    Terminal,
}

/// One guest to be started.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    /// Name shown in the process list.
    pub name: &'a str,
    /// Topology and machine type.
    pub guest: &'a Guest,
    /// How its instructions run.
    pub acceleration: Acceleration,
    /// The kernel, and how it is entered.
    pub kernel: &'a BootPath,
    /// Uncompressed cpio archive with the agent.
    pub initramfs: PathBuf,
    /// Words for the kernel's cmdline before the campaign's own.
    pub cmdline: Vec<String>,
    /// Where the serial ports go.
    pub ports: Ports,
    /// Holds windows open; TCG only.
    pub holder: Option<&'a Holder>,
}

impl Machine<'_> {
    /// QEMU's arguments. Relative file names are meant for the trial's folder as working directory.
    pub fn argv(&self) -> Vec<String> {
        let mut argv = words("-nodefaults -no-user-config -display none -no-reboot -nic none");
        argv.extend(words(SANDBOX));
        argv.extend([
            "-name".into(),
            format!("kverdict-{},debug-threads=on", self.name),
        ]);
        argv.extend(machine_and_cpu(self.guest, self.acceleration));
        argv.extend(numa(&self.guest.nodes, self.guest.distance));
        argv.extend(boot(self.kernel, &self.initramfs, &self.kernel_cmdline()));
        argv.extend(match self.ports {
            Ports::Files => ports_to_files(),
            Ports::Terminal => ports_to_terminal(),
        });
        if let Some(holder) = self.holder {
            argv.extend(["-plugin".into(), holder.argument()]);
        }
        argv
    }

    /// The kernel's cmdline: kverdict's own words, then the campaign's, so that these win.
    pub fn kernel_cmdline(&self) -> String {
        // nokaslr keeps System.map true; panic=-1 with -no-reboot makes a panic end QEMU.
        let own = words("console=ttyS0,115200 nokaslr panic=-1 rdinit=/init");
        let all: Vec<String> = own
            .into_iter()
            .chain(self.cmdline.clone())
            .chain(self.guest.cmdline.clone())
            .collect();
        all.join(" ")
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn machine_and_cpu(guest: &Guest, acceleration: Acceleration) -> Vec<String> {
    let (accel, cpu) = match acceleration {
        Acceleration::Kvm => ("kvm", "host"),
        Acceleration::Tcg => ("tcg,thread=multi", guest.cpu_model.as_str()),
    };
    let total = guest.cpus();
    let even = guest
        .nodes
        .iter()
        .all(|node| node.cpus == guest.nodes[0].cpus);
    // One socket per node, so that the kernel's topology agrees with its NUMA tables.
    let smp = if even {
        format!(
            "{total},sockets={},cores={},threads=1",
            guest.nodes.len(),
            guest.nodes[0].cpus
        )
    } else {
        format!("{total},sockets={total},cores=1,threads=1")
    };
    let memory = guest.memory_mib();
    let mut argv = words("-machine");
    argv.push(guest.machine.clone());
    for (flag, value) in [
        ("-accel", accel.to_owned()),
        ("-cpu", cpu.to_owned()),
        ("-smp", smp),
        ("-m", format!("{memory}M")),
    ] {
        argv.extend([flag.to_owned(), value]);
    }
    argv
}

fn numa(nodes: &[Node], distance: u8) -> Vec<String> {
    let mut argv = Vec::new();
    let mut first = 0;
    for (id, node) in nodes.iter().enumerate() {
        let last = first + node.cpus - 1;
        argv.extend([
            "-object".into(),
            format!("memory-backend-ram,id=mem{id},size={}M", node.memory_mib),
            "-numa".into(),
            format!("node,nodeid={id},cpus={first}-{last},memdev=mem{id}"),
        ]);
        first = last + 1;
    }
    for from in 0..nodes.len() {
        for to in from + 1..nodes.len() {
            argv.extend([
                "-numa".into(),
                format!("dist,src={from},dst={to},val={distance}"),
            ]);
        }
    }
    argv
}

fn boot(kernel: &BootPath, initramfs: &Path, cmdline: &str) -> Vec<String> {
    let mut argv = vec![
        "-kernel".into(),
        kernel.image.display().to_string(),
        "-initrd".into(),
        initramfs.display().to_string(),
        "-append".into(),
        cmdline.into(),
    ];
    if let Some(firmware) = &kernel.firmware {
        argv.extend(["-bios".into(), firmware.display().to_string()]);
    }
    argv
}

fn ports_to_files() -> Vec<String> {
    let mut argv = Vec::new();
    for (id, path) in [("console", layout::CONSOLE), ("agent", layout::AGENT)] {
        argv.extend([
            "-chardev".into(),
            format!("file,id={id},path={path}"),
            "-serial".into(),
            format!("chardev:{id}"),
        ]);
    }
    argv.extend([
        "-chardev".into(),
        format!("socket,id=qmp,path={},server=on,wait=off", layout::QMP),
        "-mon".into(),
        "chardev=qmp,mode=control".into(),
        // The kernel leaves VMCOREINFO here, without which crash and drgn cannot read a dump.
        "-device".into(),
        "vmcoreinfo".into(),
    ]);
    argv
}

fn ports_to_terminal() -> Vec<String> {
    words("-serial mon:stdio -serial null")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_path::Entry;
    use kverdict_core::campaign::{Accelerator, Boot};

    fn guest(cpus: &[u32]) -> Guest {
        Guest {
            nodes: cpus
                .iter()
                .map(|&cpus| Node {
                    cpus,
                    memory_mib: 512,
                })
                .collect(),
            distance: 20,
            accelerator: Accelerator::Auto,
            machine: "pc".into(),
            cpu_model: "max".into(),
            cmdline: vec!["nmi_watchdog=1".into()],
            boot: Boot::Shortest,
        }
    }

    fn line(cpus: &[u32]) -> String {
        line_of(cpus, &BootPath::plain("/k"))
    }

    fn line_of(cpus: &[u32], kernel: &BootPath) -> String {
        let guest = guest(cpus);
        let machine = Machine {
            name: "t",
            guest: &guest,
            acceleration: Acceleration::Tcg,
            kernel,
            initramfs: "/i".into(),
            cmdline: vec!["kv=1".into()],
            ports: Ports::Files,
            holder: None,
        };
        machine.argv().join(" ")
    }

    #[test]
    fn nodes_get_their_cpus_memory_and_distances() {
        let line = line(&[4, 4, 4]);
        assert!(
            line.contains("-smp 12,sockets=3,cores=4,threads=1 -m 1536M"),
            "{line}"
        );
        assert!(
            line.contains("node,nodeid=1,cpus=4-7,memdev=mem1"),
            "{line}"
        );
        for pair in ["src=0,dst=1", "src=0,dst=2", "src=1,dst=2"] {
            assert!(line.contains(&format!("dist,{pair},val=20")), "{line}");
        }
    }

    #[test]
    fn uneven_nodes_are_not_forced_into_sockets() {
        let line = line(&[6, 2]);
        assert!(
            line.contains("-smp 8,sockets=8,cores=1,threads=1"),
            "{line}"
        );
        assert!(
            line.contains("cpus=0-5") && line.contains("cpus=6-7"),
            "{line}"
        );
    }

    #[test]
    fn a_bzimage_boots_by_the_machines_own_firmware_and_an_elf_file_by_qboot() {
        let plain = line(&[4, 4]);
        assert!(plain.contains("-kernel /k -initrd /i"), "{plain}");
        assert!(!plain.contains("-bios"), "{plain}");
        let short = line_of(
            &[4, 4],
            &BootPath {
                image: "/vmlinux".into(),
                entry: Entry::Pvh,
                firmware: Some("/roms/qboot.rom".into()),
            },
        );
        assert!(short.contains("-kernel /vmlinux -initrd /i"), "{short}");
        assert!(short.contains("-bios /roms/qboot.rom"), "{short}");
    }

    #[test]
    fn guests_have_no_network_and_qemu_is_locked_in() {
        let line = line(&[4, 4]);
        for words in ["-nodefaults", "-no-user-config", "-nic none", SANDBOX] {
            assert!(line.contains(words), "{words}: {line}");
        }
        for word in [
            "-net ",
            "-netdev",
            "-device virtio-net",
            "-drive",
            "-virtfs",
            "=allow",
        ] {
            assert!(!line.contains(word), "{word}: {line}");
        }
    }

    #[test]
    fn the_campaigns_words_come_last_on_the_cmdline() {
        let line = line(&[4, 4]);
        assert!(line.contains("rdinit=/init kv=1 nmi_watchdog=1"), "{line}");
    }
}
