//! Trials of a run, several at a time, until its schedule wants no more.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Result;
use kverdict_core::campaign::Campaign;
use kverdict_core::order::Order;
use kverdict_core::record::TrialRecord;

use crate::executor::command::Elsewhere;
use crate::executor::local::{Local, Place};
use crate::executor::results::Results;
use crate::executor::slurm::Slurm;
use crate::executor::{Executor, ExecutorArgs, Kind};
use crate::guests::Guests;
use crate::progress::Progress;
use crate::store::{Records, Run};

/// What a schedule says.
#[derive(Debug)]
pub enum Step {
    /// Try this arm.
    Trial(String),
    /// Wait for what is under way.
    Wait,
    /// No more trials: why, if there is something to say.
    End(Option<&'static str>),
}

/// What decides about a run's trials.
pub trait Schedule {
    /// What to do next, by the records and by the orders that are out.
    ///
    /// # Errors
    /// When something that it needs is not there.
    fn next(&self, records: &Records, out: &[Order]) -> Result<Step>;

    /// Is told after each trial.
    ///
    /// # Errors
    /// When it cannot write what it writes.
    fn told(&self, run: &Run, records: &Records) -> Result<()>;
}

/// Runs trials until the schedule ends.
///
/// # Errors
/// Trouble of the host, or an interrupt.
pub fn run(
    guests: &Guests,
    campaign: &Campaign,
    args: &ExecutorArgs,
    progress: &Progress,
    schedule: &dyn Schedule,
    run: &mut Run,
    records: &mut Records,
) -> Result<()> {
    let place = Place {
        guests,
        campaign,
        results: Results::of(guests),
        progress,
        stop: AtomicBool::new(false),
    };
    let mut dispatch = Dispatch {
        lost: records.lost().into(),
        out: Vec::new(),
        place: &place,
        schedule,
        run,
        records,
    };
    thread::scope(|scope| match &args.executor {
        Kind::Local => dispatch.run_all(&mut Local::new(scope, &place, args.jobs)?),
        Kind::Slurm => dispatch.run_all(&mut Slurm::new(&place, args)?),
        Kind::Program(program) => {
            let mut elsewhere = Elsewhere::new(scope, &place, args.jobs, program)?;
            dispatch.run_all(&mut elsewhere)
        }
    })
}

struct Dispatch<'a> {
    /// Asked for by a run that was cut short.
    lost: VecDeque<Order>,
    /// Under way.
    out: Vec<Order>,
    place: &'a Place<'a>,
    schedule: &'a dyn Schedule,
    run: &'a mut Run,
    records: &'a mut Records,
}

impl Dispatch<'_> {
    fn run_all(&mut self, executor: &mut dyn Executor) -> Result<()> {
        loop {
            let end = self.begin_what_fits(executor)?;
            if self.out.is_empty() {
                if let Some(why) = end.flatten() {
                    self.place.progress.line(why);
                }
                return Ok(());
            }
            let record = executor.wait()?;
            self.take(record)?;
        }
    }

    /// Begins trials while there is room. Gives why no more are wanted, when that is so.
    fn begin_what_fits(
        &mut self,
        executor: &mut dyn Executor,
    ) -> Result<Option<Option<&'static str>>> {
        while executor.has_room(self.out.len())? {
            let order = match self.lost.pop_front() {
                Some(order) => match self.finished(&order)? {
                    Some(record) => {
                        self.take(record)?;
                        continue;
                    }
                    None => order,
                },
                None => match self.schedule.next(self.records, &self.out)? {
                    Step::Trial(arm) => self.run.order(self.records, arm, None)?,
                    Step::Wait => return Ok(None),
                    Step::End(why) => return Ok(Some(why)),
                },
            };
            self.run.trial_started(&order);
            executor.start(&order)?;
            self.out.push(order);
        }
        Ok(None)
    }

    /// The record of a trial that ended when nobody could put it in the list any more.
    fn finished(&self, order: &Order) -> Result<Option<TrialRecord>> {
        self.place.results.find(&self.run.dir().all_trials(), order)
    }

    fn take(&mut self, record: TrialRecord) -> Result<()> {
        self.run.record(&record)?;
        self.run.trial_ended(self.place.campaign, &record);
        self.out.retain(|order| order.number != record.number);
        self.records.insert(record);
        self.schedule.told(self.run, self.records)
    }
}
