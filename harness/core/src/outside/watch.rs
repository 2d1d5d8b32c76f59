//! From samples and looks to findings: what is fed with a live guest, or with what was stored of it.

use super::detector::{Detector, Limits, Suspect};
use super::finding::{Findings, State, Stuck};
use super::memory::Memory;
use super::percpu::cpu_number;
use super::sample::{Sample, Vcpu};
use super::seen::{Seen, seen};
use super::symbols::Symbols;
use super::unwind::unwind;
use super::waits::{self, Cpu, Doing, Graph, Scene};
use crate::console::signature::SIGNATURES;

/// Watches one guest.
pub struct Watcher {
    symbols: Symbols,
    detector: Detector,
    findings: Findings,
    last: Vec<Vcpu>,
}

impl Watcher {
    /// Nothing seen yet. Without symbols places are told apart by address alone and no wait is
    /// understood.
    pub fn new(symbols: Symbols, limits: Limits) -> Self {
        Self {
            symbols,
            detector: Detector::new(limits),
            findings: Findings::default(),
            last: Vec::new(),
        }
    }

    /// Names of the guest's kernel.
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Takes the guest's own symbols where nothing else named any.
    pub fn name_by(&mut self, symbols: Symbols) {
        self.symbols = symbols;
    }

    /// Takes in a sample; returns the vCPUs that [`Watcher::look`] should look at now.
    pub fn sample(&mut self, sample: &Sample) -> Vec<Vcpu> {
        let suspects = self.detector.sample(sample);
        self.last.clone_from(&sample.vcpus);
        self.findings.watch = self.detector.watch().clone();
        if suspects.is_empty() {
            self.conclude(sample.at_ms, Vec::new(), Graph::default(), None);
        }
        let wanted = |vcpu: &&Vcpu| suspects.contains(&vcpu.index);
        sample.vcpus.iter().filter(wanted).cloned().collect()
    }

    /// Takes a closer look at these vCPUs of the last sample.
    pub fn look(&mut self, at_ms: u64, vcpus: &[Vcpu], memory: &dyn Memory) {
        for vcpu in vcpus {
            let stack = unwind(&vcpu.registers, &self.symbols, memory);
            self.detector.look(vcpu.index, stack);
        }
        let suspects = self.detector.suspects();
        if suspects.is_empty() {
            self.conclude(at_ms, Vec::new(), Graph::default(), None);
            return;
        }
        let scene = self.scene(&suspects, memory);
        let graph = waits::graph(&scene);
        let in_cycle = |cpu: &Cpu| {
            let cycle = graph.cycle.as_ref().filter(|cycle| cycle.proven);
            cycle.is_some_and(|cycle| cycle.cpus.contains(&cpu.name()))
        };
        let stuck: Vec<Stuck> = suspects
            .iter()
            .filter_map(|suspect| {
                let cpu = scene.cpus.iter().find(|cpu| cpu.vcpu == suspect.vcpu)?;
                let is_stuck = self.detector.is_stuck(suspect, in_cycle(cpu));
                is_stuck.then(|| stuck(suspect, cpu.number))
            })
            .collect();
        let signature = SIGNATURES
            .iter()
            .map(|signature| seen(&scene, &graph, signature))
            .max_by_key(|seen| seen.matched);
        self.conclude(at_ms, stuck, graph, signature);
    }

    /// What was found so far. Once a vCPU was stuck, the findings of that time stay, with CPUs that
    /// pile up later.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    fn conclude(&mut self, at_ms: u64, stuck: Vec<Stuck>, graph: Graph, signature: Option<Seen>) {
        let findings = &mut self.findings;
        findings.watch = self.detector.watch().clone();
        if stuck.is_empty() {
            if findings.state != State::Stuck {
                findings.state = self.detector.state();
            }
        } else if stuck.len() >= findings.stuck.len() {
            if findings.state != State::Stuck {
                findings.at_ms = at_ms;
            }
            findings.state = State::Stuck;
            findings.graph = graph;
            findings.stuck = stuck;
            findings.signature = signature;
        }
    }

    /// All vCPUs at the last sample, those that were looked at with their stacks.
    fn scene<'a>(&'a self, suspects: &[Suspect], memory: &'a dyn Memory) -> Scene<'a> {
        let cpus = self.last.iter().map(|vcpu| {
            let suspect = suspects.iter().find(|suspect| suspect.vcpu == vcpu.index);
            Cpu {
                vcpu: vcpu.index,
                number: cpu_number(&vcpu.registers, &self.symbols, memory),
                registers: vcpu.registers,
                stack: suspect
                    .map(|suspect| suspect.stack.clone())
                    .unwrap_or_default(),
                doing: match suspect {
                    Some(_) => Doing::Stuck,
                    None if vcpu.registers.halted => Doing::Idle,
                    None if vcpu.registers.cpl == 3 => Doing::UserSpace,
                    None => Doing::Moving,
                },
            }
        });
        Scene {
            symbols: &self.symbols,
            memory,
            cpus: cpus.collect(),
        }
    }
}

fn stuck(suspect: &Suspect, cpu: Option<u32>) -> Stuck {
    Stuck {
        vcpu: suspect.vcpu,
        cpu,
        kind: suspect.kind,
        since_ms: suspect.since_ms,
        cpu_time_ms: suspect.cpu_time_ms,
        frozen: suspect.frozen,
        stack: suspect.stack.clone(),
    }
}
