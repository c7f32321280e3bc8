//! What speaks upstream's protocols: their wire formats and our words.

pub mod budget;
pub mod mangoapps;
pub mod signature;
