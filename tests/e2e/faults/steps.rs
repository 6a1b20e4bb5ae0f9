//! What rounds are made of: what is done to whom. Data, so that a table can hold it.

use rustix::process::{Pid, Signal, kill_process};
use streamkeeper_tests::program::program;
use streamkeeper_tests::proxy::{Cut, Flow};
use streamkeeper_tests::wait;
use tokio::time::{Duration, sleep};

use crate::clocks;
use crate::messages;
use crate::scene::Scene;

/// Whom a step is about. Roles are those at the beginning of the round, but for the next leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The agent with the most streams.
    Agent,
    Leader,
    /// Who led after it, as [`Step::Led`] found.
    NextLeader,
    /// Everybody who did not lead.
    Standby,
    Orchestrators,
    Nats,
    Database,
}

/// How long a step lasts, see [`crate::pace::Pace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    Short,
    Long,
    Away,
}

/// Which direction is cut, as seen from the first one that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Both,
    Out,
    In,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// SIGKILL.
    Kill(Who),
    /// SIGKILL for an agent and its guard together: nobody can tell, and its commands end with the guard.
    KillWithGuard,
    /// SIGSTOP.
    Freeze(Who),
    /// SIGCONT.
    Thaw(Who),
    /// Starts what was killed.
    Start(Who),
    /// Empties what a message server kept that was killed.
    Wipe,
    /// Takes away what one sends to the other.
    Part(Who, Who, Way),
    /// Ends every partition, and heals the proxy.
    Heal,
    /// What the proxy in front of the database does from now on, to and from the server.
    Proxy(Flow, Flow),
    /// Connections to the database end for the server alone.
    HalfOpen,
    /// The next commits are cut off.
    Trap(Cut),
    /// Waits until that has happened.
    Sprung,
    /// A second process with the agent's id, elsewhere.
    Twin,
    /// It ends.
    EndTwin,
    /// Messages of the next version.
    Tomorrow,
    /// Sets the wall clock of somebody so many days off, and waits until that shows.
    Clock(Who, i64),
    /// From its next start on, the agent lives on a machine with another boot time; or does not any more.
    OtherBoot(bool),
    /// Waits.
    Wait(Span),
    /// Waits until another orchestrator leads.
    Led,
    /// Waits until the leader has heard every agent.
    Heard,
    /// Waits until everything runs again and nothing moves.
    Settle,
    /// Waits until other agents run everything.
    Rescued,
}

/// Who has which role in a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Roles {
    pub(crate) agent: usize,
    pub(crate) leader: usize,
}

impl Scene {
    pub(crate) async fn step(&mut self, roles: Roles, step: Step) {
        let agent_id = self.agents[roles.agent].part.id().to_owned();
        match step {
            Step::Kill(who) => self.kill(roles, who),
            Step::KillWithGuard => self.kill_with_guard(roles.agent),
            Step::Freeze(who) => self.signal(roles, who, Signal::STOP),
            Step::Thaw(who) => self.signal(roles, who, Signal::CONT),
            Step::Start(who) => self.start_again(roles, who).await,
            Step::Wipe => self
                .nats
                .iter()
                .for_each(streamkeeper_tests::nats::NatsServer::wipe),
            Step::Part(one, other, way) => self.part(roles, one, other, way),
            Step::Heal => {
                self.network.heal();
                if let Some(store) = &self.store {
                    store.proxy.heal();
                }
            }
            Step::Proxy(to_server, to_client) => {
                let proxy = &self.store().proxy;
                proxy.to_server(to_server);
                proxy.to_client(to_client);
            }
            Step::HalfOpen => self.store().proxy.half_open(),
            Step::Trap(cut) => self.store().proxy.trap(cut, "COMMIT"),
            Step::Sprung => {
                let proxy = &self.store().proxy;
                let before = proxy.sprung();
                let cut = async || {
                    if proxy.sprung() > before {
                        Ok(())
                    } else {
                        Err("no commit was cut".to_owned())
                    }
                };
                wait::until(self.pace.patience, cut)
                    .await
                    .unwrap_or_else(|reason| panic!("{reason}"));
            }
            Step::Twin => self.begin_twin(&agent_id),
            Step::EndTwin => {
                self.twin = None;
                self.world.gone(&twin(&agent_id)).await;
            }
            Step::Tomorrow => {
                messages::of_tomorrow(&self.nats[0].url(), &agent_id, self.span(Span::Short)).await
            }
            Step::Clock(who, days) => self.set_clock(roles, who, days).await,
            Step::OtherBoot(other) => {
                let place = self.agents[roles.agent].part.place();
                if other {
                    clocks::another_boot_time(place);
                } else {
                    clocks::own_boot_time(place);
                }
            }
            Step::Led => self.led_by_another().await,
            Step::Heard => self.heard().await,
            Step::Settle => self.settle().await,
            Step::Wait(span) => sleep(self.span(span)).await,
            Step::Rescued => self.rescued_from(&agent_id).await,
        }
    }

    fn span(&self, span: Span) -> Duration {
        match span {
            Span::Short => self.pace.short,
            Span::Long => self.pace.long,
            Span::Away => self.pace.away,
        }
    }

    fn store(&self) -> &crate::scene::Store {
        self.store
            .as_ref()
            .expect("rows about PostgreSQL are for a stage that has it")
    }

    async fn led_by_another(&mut self) {
        let before = self.led.last().copied();
        let led = wait::until(self.pace.patience, async || match self.leader().await {
            Some(index) if Some(index) != before => Ok(index),
            other => Err(format!("{other:?} leads")),
        });
        let leads = led
            .await
            .unwrap_or_else(|reason| panic!("the lead did not pass on: {reason}"));
        self.led.push(leads);
    }

    async fn heard(&self) {
        let leader = self.leading().await;
        let heard = wait::until(self.pace.patience, async || {
            let workers = leader.list("workers").await?;
            let heard = workers.iter().filter(|worker| worker["heard"] == true).count();
            let all = heard == self.agents.len();
            all.then_some(())
                .ok_or_else(|| format!("heard are {heard} of {workers:?}"))
        });
        heard.await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    async fn set_clock(&self, roles: Roles, who: Who, days: i64) {
        let folder = self.world.folder();
        if who == Who::Agent {
            clocks::set(folder, self.agents[roles.agent].part.id(), days);
        }
        for index in self.meant(roles, who) {
            let part = &self.orchestrators[index].part;
            clocks::set(folder, part.name(), days);
            let api = part.api();
            let seen = wait::until(self.pace.patience, async || {
                match clocks::days_off(api.base()).await? {
                    off if off == days => Ok(()),
                    off => Err(format!("{off} days off")),
                }
            });
            seen.await
                .unwrap_or_else(|reason| panic!("the clock of {}: {reason}", part.name()));
        }
    }

    /// The orchestrators that are meant, by index.
    fn meant(&self, roles: Roles, who: Who) -> Vec<usize> {
        let all = 0..self.orchestrators.len();
        let meant = all.filter(|index| match who {
            Who::Leader => *index == roles.leader,
            Who::NextLeader => Some(index) == self.led.get(1),
            Who::Standby => *index != roles.leader,
            Who::Orchestrators => true,
            Who::Agent | Who::Nats | Who::Database => false,
        });
        meant.collect()
    }

    fn kill(&mut self, roles: Roles, who: Who) {
        match who {
            Who::Agent => self.agents[roles.agent].part.kill9(),
            Who::Nats => self.nats[0].kill(),
            Who::Database => self.store.as_mut().expect("PostgreSQL").postgres.kill(),
            Who::Leader | Who::NextLeader | Who::Standby | Who::Orchestrators => {
                for index in self.meant(roles, who) {
                    self.orchestrators[index].part.kill9();
                }
            }
        }
    }

    fn kill_with_guard(&mut self, agent: usize) {
        let part = &mut self.agents[agent].part;
        let living = self.world.living(part.id());
        let guard = living
            .iter()
            .find(|process| process.command.ends_with(" guard"))
            .expect("a guard");
        let signal = |signal| kill_process(Pid::from_raw(guard.pid).unwrap(), signal).expect("it lives");
        // It must not see the agent die.
        signal(Signal::STOP);
        part.kill9();
        signal(Signal::KILL);
    }

    fn signal(&self, roles: Roles, who: Who, signal: Signal) {
        match who {
            Who::Agent => self.agents[roles.agent].part.process().signal(signal),
            Who::Nats => self.nats[0].process().signal(signal),
            Who::Database => self.store().postgres.process().signal(signal),
            Who::Leader | Who::NextLeader | Who::Standby | Who::Orchestrators => {
                for index in self.meant(roles, who) {
                    self.orchestrators[index].part.process().signal(signal);
                }
            }
        }
    }

    async fn start_again(&mut self, roles: Roles, who: Who) {
        match who {
            Who::Agent => self.agents[roles.agent].part.restart(&self.world),
            Who::Nats => self.nats[0].restart().await,
            Who::Database => {
                self.store
                    .as_mut()
                    .expect("PostgreSQL")
                    .postgres
                    .start_again()
                    .await
            }
            Who::Leader | Who::NextLeader | Who::Standby | Who::Orchestrators => {
                for index in self.meant(roles, who) {
                    self.orchestrators[index].part.launch(&self.world);
                }
            }
        }
    }

    fn part(&self, roles: Roles, one: Who, other: Who, way: Way) {
        for from in self.addresses(roles, one) {
            for to in self.addresses(roles, other) {
                if way != Way::In {
                    self.network.cut(from, to);
                }
                if way != Way::Out {
                    self.network.cut(to, from);
                }
            }
        }
    }

    fn addresses(&self, roles: Roles, who: Who) -> Vec<std::net::Ipv4Addr> {
        match who {
            Who::Agent => vec![self.agents[roles.agent].address],
            Who::Nats => self.nats.iter().map(|server| server.address()).collect(),
            Who::Database => vec![self.store().address],
            Who::Leader | Who::NextLeader | Who::Standby | Who::Orchestrators => {
                let meant = self.meant(roles, who).into_iter();
                meant.map(|index| self.orchestrators[index].address).collect()
            }
        }
    }

    /// Another process, on another host and with a state folder of its own: nothing there shows that the id is taken.
    fn begin_twin(&mut self, id: &str) {
        let place = self.spare.clone();
        let words: Vec<std::path::PathBuf> = place
            .before
            .iter()
            .map(std::path::PathBuf::from)
            .chain([program().clone()])
            .collect();
        let state = self.world.folder().join(twin(id));
        let args = self.agent_args();
        self.twin = Some(self.world.spawn(&twin(id), &words[0], |command| {
            command
                .args(&words[1..])
                .args(["agent", "--id", id, "--state"])
                .arg(state)
                .args(args);
        }));
    }
}

fn twin(id: &str) -> String {
    format!("twin-{id}")
}
