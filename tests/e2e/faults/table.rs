//! The table of faults: what each does, on which stages, and what must be true after it besides what must always be true.

use streamkeeper_tests::proxy::{Cut, Flow};
use tokio::time::Duration;

use crate::scene::Stage::{self, Cluster, Postgresql, Sqlite};
use crate::steps::Span::{Away, Long, Short};
use crate::steps::Step::{self, *};
use crate::steps::Way::{Both, In, Out};
use crate::steps::Who::{Agent, Database, Leader, Nats, NextLeader, Orchestrators, Standby};

/// What a fault gives a reason for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing: no stream moves.
    None,
    /// The agent's streams may go elsewhere, and come back.
    Agent,
    /// Nobody answers for longer than a lease: exclusive streams end everywhere. Available ones stay.
    Lapse,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) on: &'static [Stage],
    pub(crate) effect: Effect,
    pub(crate) steps: &'static [Step],
}

const BOTH: &[Stage] = &[Postgresql, Sqlite];
const PG: &[Stage] = &[Postgresql];
const CLUSTER: &[Stage] = &[Cluster];
const SQLITE: &[Stage] = &[Sqlite];
/// Of each piece in each direction: a transaction takes most of a second.
const SLOW: Duration = Duration::from_millis(100);

const fn row(name: &'static str, on: &'static [Stage], effect: Effect, steps: &'static [Step]) -> Row {
    Row {
        name,
        on,
        effect,
        steps,
    }
}

/// All rows, in the order in which they are run.
#[rustfmt::skip] // A row is easier to read than its parts.
pub(crate) const TABLE: &[Row] = &[
    row("agent killed", BOTH, Effect::Agent, &[Kill(Agent), Rescued, Start(Agent)]),
    row("agent and guard killed", BOTH, Effect::Agent, &[KillWithGuard, Rescued, Start(Agent)]),
    row("agent frozen briefly", BOTH, Effect::None, &[Freeze(Agent), Wait(Short), Thaw(Agent)]),
    row("agent frozen", BOTH, Effect::Agent, &[Freeze(Agent), Wait(Long), Rescued, Thaw(Agent)]),
    row("leader killed", PG, Effect::None, &[Kill(Leader), Led, Start(Leader)]),
    // Each is heard before it dies: leases outlast one change of leaders, not two in a row (OWNERSHIP rule 4).
    row(
        "leader killed, and the next one", PG, Effect::None,
        &[Kill(Leader), Led, Heard, Kill(NextLeader), Start(Leader), Led, Heard, Start(NextLeader)],
    ),
    row("leader frozen briefly", BOTH, Effect::None, &[Freeze(Leader), Wait(Short), Thaw(Leader)]),
    row("leader frozen", PG, Effect::None, &[Freeze(Leader), Wait(Long), Led, Thaw(Leader)]),
    row(
        "leader frozen, and the next one killed", PG, Effect::None,
        &[Freeze(Leader), Led, Heard, Kill(NextLeader), Led, Heard, Thaw(Leader), Start(NextLeader)],
    ),
    row("standby killed", PG, Effect::None, &[Kill(Standby), Wait(Short), Start(Standby)]),
    row("standby frozen", PG, Effect::None, &[Freeze(Standby), Wait(Long), Thaw(Standby)]),
    row("all orchestrators killed", BOTH, Effect::None, &[Kill(Orchestrators), Start(Orchestrators)]),
    row("message server killed", BOTH, Effect::None, &[Kill(Nats), Wait(Short), Start(Nats)]),
    row("message server frozen", SQLITE, Effect::Lapse, &[Freeze(Nats), Wait(Long), Thaw(Nats)]),
    row("message server away and wiped", BOTH, Effect::Lapse, &[Kill(Nats), Wait(Away), Wipe, Start(Nats)]),
    row("agent cut off briefly", BOTH, Effect::None, &[Part(Agent, Nats, Both), Wait(Short), Heal]),
    row("agent cut off", BOTH, Effect::Agent, &[Part(Agent, Nats, Both), Wait(Long), Rescued, Heal]),
    row("agent is not heard", PG, Effect::Agent, &[Part(Agent, Nats, Out), Wait(Long), Rescued, Heal]),
    row("agent does not hear", PG, Effect::Agent, &[Part(Agent, Nats, In), Wait(Long), Rescued, Heal]),
    row("leader cut off from messages", PG, Effect::None, &[Part(Leader, Nats, Both), Wait(Long), Led, Heal]),
    row("only orchestrator cut off from messages", SQLITE, Effect::Lapse, &[Part(Leader, Nats, Both), Wait(Long), Heal]),
    row("leader is not heard", PG, Effect::None, &[Part(Leader, Nats, Out), Led, Heal]),
    row("leader does not hear", PG, Effect::None, &[Part(Leader, Nats, In), Led, Heal]),
    row("leader cut off from its database", PG, Effect::None, &[Part(Leader, Database, Both), Wait(Long), Heal]),
    row("leader writes into the void", PG, Effect::None, &[Part(Leader, Database, Out), Wait(Long), Heal]),
    row("leader hears no answers of its database", PG, Effect::None, &[Part(Leader, Database, In), Wait(Long), Heal]),
    row("second process with an agent's id", BOTH, Effect::None, &[Twin, Wait(Long), EndTwin]),
    row("messages of the next version", BOTH, Effect::None, &[Tomorrow]),
    row("database killed", CLUSTER, Effect::None, &[Kill(Database), Wait(Short), Start(Database)]),
    row("commit cut off before it is heard", CLUSTER, Effect::None, &[Trap(Cut::Before), Sprung, Heal]),
    row("commit cut off after it was done", CLUSTER, Effect::None, &[Trap(Cut::After), Sprung, Heal]),
    row("database connections half open", CLUSTER, Effect::None, &[HalfOpen, Wait(Short), Heal]),
    row("database away", CLUSTER, Effect::None, &[Proxy(Flow::Stall, Flow::Stall), Wait(Away), Heal]),
    row("database slow", CLUSTER, Effect::None, &[Proxy(Flow::Delay(SLOW), Flow::Delay(SLOW)), Wait(Long), Heal]),
    // Until the servers have elected another one among them, nobody can renew the leader's key.
    row("one of three message servers killed", CLUSTER, Effect::Lapse, &[Kill(Nats), Wait(Long), Start(Nats)]),
    row("one of three message servers frozen", CLUSTER, Effect::Lapse, &[Freeze(Nats), Wait(Long), Thaw(Nats)]),
    row("leader's wall clock a day ahead", CLUSTER, Effect::None, &[Clock(Leader, 1), Wait(Long), Clock(Leader, 0)]),
    row("leader's wall clock a day back", CLUSTER, Effect::None, &[Clock(Leader, -1), Wait(Long), Clock(Leader, 0)]),
    row(
        "wall clocks apart, and an agent killed", CLUSTER, Effect::Agent,
        &[Clock(Agent, 1), Clock(Standby, -1), Wait(Short), Kill(Agent), Rescued, Start(Agent), Clock(Standby, 0)],
    ),
    row(
        "agent with another boot time, killed and frozen", CLUSTER, Effect::Agent,
        &[
            Kill(Agent), OtherBoot(true), Rescued, Start(Agent), Settle, Freeze(Agent), Wait(Long), Rescued, Thaw(Agent),
            Settle, Kill(Agent), OtherBoot(false), Rescued, Start(Agent), Clock(Agent, 0),
        ],
    ),
    row(
        "agent killed while the database is away", CLUSTER, Effect::Agent,
        &[Proxy(Flow::Stall, Flow::Stall), Kill(Agent), Wait(Long), Heal, Rescued, Start(Agent)],
    ),
];
