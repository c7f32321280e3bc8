//! rollcall keeps a local people directory equal to its MangoApps tenant; this is the map at its door.
//!
//! **Polling makes the directory right, webhooks make it fast.** An event is a hint with a time, a read of upstream is
//! evidence. Deliveries come in at one door, one writer decides what they mean, the store remembers it in one step, and
//! everyone else only reads.
//!
//! # The rooms
//! ```text
//!             main ── cli                 the composition root: the only room that knows everyone
//!                      │
//!      http ───────────┤─────── simulator   faces: webhooks, mirror, feed, operations  │  a believable upstream
//!                      │
//!                   service                 actors: receiver, writer, reconciler, compactor, refresher
//!                   ┌──┴───┐
//!               storage  upstream           edges: what remembers  │  what speaks their protocols
//!                   └──┬───┘
//!                  directory                the pure core: words and rules, no IO, no clock, cannot fail
//!
//!      closets: config, clock, telemetry
//! ```
//! A room knows only rooms below it; `tests/it/tidy.rs` holds the list of doors and checks it.
//!
//! | room | what to look for there |
//! |---|---|
//! | [`directory`] | [`directory::decide`]: what one event or one read means for one user; the gap rules |
//! | [`storage`] | [`storage::Store`]: one atomic, durable commit, and reads of what is durable; [`storage::backup`]: copies of it |
//! | [`upstream`] | signatures, delivery bodies, the REST client, the hourly budgets |
//! | [`service`] | [`service::Service`]: what the faces may ask; the actors behind it |
//! | [`http`] | one file a resource; the file `problem` is the only map from errors to statuses |
//! | [`simulator`] | a tenant with its faults, for the demo, for tests, and for other people's integrations |
//! | [`cli`] | one file a command |
//! | [`config`] | files, environment and secrets, read into types that prove what was checked |
//! | [`clock`], [`telemetry`] | time that tests can move; metrics and the log |
//!
//! # What always holds
//! - A delivery is answered 200 only after its event id, its user, its change and its gaps are on disk, in one step. Whoever
//!   reads sees all of them or none.
//! - Only the [`service::writer`] commits. Whoever learns something hands it to the writer and waits.
//! - The signature is checked over the bytes of the wire, before anything is parsed; nothing of what is not authentic is kept.
//! - The order in which evidence arrives does not decide the outcome: `directory::laws` tries it on generated histories.
//! - A read drops a claim only if it carries the claim's field and began later than the event by more than the tolerance.
//!   Which of two reads is the later one is told by their places in the ledger of requests, not by a clock.
//! - Where there is an upstream, only a read brings a deleted user back. No single read deletes a user who is held as alive:
//!   another one confirms it, and beyond a threshold someone approves ([`service::reconciler::toll`]).
//! - A call is logged durably before it is sent. No sliding hour holds more calls than the budget, whatever restarts and whoever sets the
//!   clock.
//! - A pass moves its cursor in the commit that holds its last rows, and only if they add up to what upstream counts.
//! - A commit is in the journal before anyone sees it. Where its rows stand, there or in the tree, and in which file of the tree, nobody
//!   outside [`storage`] can tell; the service compacts that file by itself ([`service::compactor`]).
//! - A backup is the store as of one commit. What was cut or damaged is never restored, and what is restored is whole or nothing.
//! - No limit refuses a delivery: strangers' connections make room for newer ones, and what is refused anyway is answered late.
//! - Every queue, body, retry and cache has a limit, named `…_MAX` where it binds.
//! - What opens a gap of a whole source while nothing can be committed, or comes from strangers, is held in memory
//!   ([`service::vigil`]) and written with what is committed next. A read closes no gap that was shown after it began.
//! - A changed secret counts without a restart, once it was surely written whole; one that cannot be used changes nothing
//!   ([`config::secrets`]).
//! - No personal data and no secret is in a log line, an error or a metric.
//!
//! # Walkthrough: a delivery's way
//! 1. The listener of [`http::webhooks`] takes the connection, by TLS where there is a certificate ([`http::tls`]), and counts it by address.
//!    [`http::webhooks`] checks path, method, source and size, and reads the raw body under a limit and a time-out.
//! 2. [`service::Service::receive`] verifies it against every live secret ([`upstream::signature`]) and reads it
//!    ([`upstream::mangoapps::delivery::read`]). What is authentic but not understood goes on, as a quarantined one.
//! 3. The [`service::writer::Writer`] takes what waits in its queue, up to 64 deliveries, as one [`service::group::Group`].
//!    A repeated event id ends here. For each other one it loads the user's [`directory::Record`] and asks
//!    [`directory::decide`] what becomes of it: fields, gaps, and the difference that the feed will tell.
//! 4. [`storage::Store::commit`] makes the group durable in one step, as one frame of the store's journal, whose rows settle in its
//!    tree later; the watermark moves, the feed's readers wake, and
//!    every delivery of the group is answered. If it cannot, all of them get 503, and once the store is mended
//!    ([`storage::Store::mend`]) the group has happened as a whole or not at all.
//!
//! # Walkthrough: a gap's repair
//! 1. A decision shows a [`directory::Gap`]: what may be missing, which kind of read would tell ([`directory::Need`]), and
//!    when it is due, late enough for the read to cover the event. It is stored in the user's record.
//! 2. The [`service::reconciler::Reconciler`] of the source looks what is due and plans ([`service::reconciler::plan`]): an
//!    incremental pass where a page costs less than lookups, else lookups; who may wrongly be active goes first.
//! 3. Before each call the [`upstream::budget::Ledger`] must have room, and the call is logged by the writer. A pass reads
//!    behind its cursor by keyset ([`service::reconciler::walk`]), since pages by number lose rows that move meanwhile; the
//!    first load and the weekly one page over `created_at`, which does not move ([`service::reconciler::sweep`]).
//! 4. Each answer is evidence ([`directory::Sighting`]) on the same way through the writer: [`directory::decide`] replaces
//!    what was read, drops the claims that the read covers, and closes the gaps that it answers. The same commit moves the
//!    cursor. A failure is no evidence: the run waits, and tries again.
//!
//! # Walkthrough: a reader's page
//! 1. [`http::operations`] finds the file for the path, once the token is good.
//! 2. [`http::mirror`] reads the parameters as MangoApps would, into a [`storage::Listing`].
//! 3. [`storage::Store::list`] finds the page's users in an index in memory, as of the last durable commit, and tells which
//!    cursor of the feed that is.
//! 4. [`directory::merge::view`] lays the claims over the reads: that is the user whom everyone sees.

pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod http;
pub mod service;
pub mod simulator;
pub mod storage;
pub mod telemetry;
pub mod upstream;
