//! `dhcp-storm capacity`: its arguments.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    clients::{ClientArgs, WireArgs},
    values::{per_second, percent, seconds},
};
use crate::engine::Plan;

pub(super) const HELP: &str = "\
Examples:
  The most leases a second with at most 0.1 % of the messages lost:
    dhcp-storm capacity --interface eth1 --max-loss 0.1 --json capacity.json
  Renewals, in at most two minutes:
    dhcp-storm capacity --interface eth1 --scenario renew --clients 50000 --time-limit 120

First as fast as the server goes for a moment, to know where to look; then trials at fixed rates from half of that, each half as \
much again, until one loses too much; then between the best and the worst, until they are within --precision; the result is tried \
once more. Each trial is an open loop. Where all clients wait for an answer at a time and the server has shown that it can do more, it is the \
number of clients that limits the rate: give more (--clients). Exit code: 0 found, 1 a reply was wrong or nothing was found, 2 wrong usage.";

/// Arguments of `capacity`.
#[derive(Debug, Args)]
pub struct CapacityArgs {
    /// The way to the server.
    #[command(flatten)]
    pub wire: WireArgs,
    /// The clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// Messages that may be lost, percent
    #[arg(long, value_name = "PERCENT", default_value = "0.1", value_parser = percent)]
    pub max_loss: f64,
    /// Rate of the first trial, exchanges a second [default: half of what a closed loop reaches]
    #[arg(long, value_name = "R", value_parser = per_second)]
    pub from: Option<f64>,
    /// Highest rate that is tried
    #[arg(long, value_name = "R", default_value = "10M", value_parser = per_second)]
    pub to: f64,
    /// How long a trial's exchanges begin, in seconds
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub trial: Duration,
    /// How long the last replies of a trial are awaited, at most, in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub drain: Duration,
    /// How far apart, in percent, the best rate and the next worse one may be
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    pub precision: f64,
    /// No trial begins after so many seconds
    #[arg(long, value_name = "S", default_value = "120", value_parser = seconds)]
    pub time_limit: Duration,
    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

impl CapacityArgs {
    /// The plan of a trial, whose pace is not set.
    ///
    /// # Errors
    /// What does not fit together, in one line: wrong usage.
    pub fn plan(&self, interface_mac: [u8; 6]) -> Result<Plan, String> {
        if self.trial < Duration::from_millis(100) {
            return Err("--trial: at least 0.1 s".into());
        }
        if self.from.is_some_and(|from| from > self.to) {
            return Err("--from is above --to".into());
        }
        let mut plan = self.clients.plan(interface_mac)?;
        if plan.scenario.hold.is_some() || plan.once {
            return Err(format!(
                "the scenario {} has a pace of its own: capacity is that of exchanges which can begin at any rate",
                plan.scenario.name()
            ));
        }
        (plan.load, plan.drain) = (self.trial, self.drain);
        Ok(plan)
    }
}
