//! A simulated MangoApps tenant: what upstream documents (HRIS Users API guide, November 2025), with its faults on purpose.
//!
//! The [`tenant::Tenant`] is the truth: users and what happens to them, pure and seeded, so that the same seed tells the same story. Around
//! it stand two faces, the REST API ([`api::Api`]) and the webhook sender ([`sender::Sender`]), and the hand that makes it live
//! ([`life::Life`]). They share the tenant behind a mutex and a [`crate::clock::Clock`] with whoever watches them.
//!
//! # Why its own rules where the guide is silent
//! Soft-deleted users answer 404 to lookups and carry no marker in listings; a page beyond the end is empty; `name` sorts by full name without
//! case; unreadable parameters get 400, because a simulator should show its users their mistakes. Restoring a user is never announced.

pub mod api;
pub mod desk;
pub mod edit;
pub mod event;
pub mod faults;
pub mod life;
pub mod limits;
pub mod names;
pub mod outbox;
mod person;
pub mod post;
pub mod query;
pub mod sender;
pub mod tenant;
mod view;
pub mod wire;
