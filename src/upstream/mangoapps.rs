//! MangoApps: its webhook deliveries and its HRIS Users API (upstream guide, November 2025).

pub mod client;
pub mod delivery;

/// An event id, a uid or a field's name is at most this long.
const NAME_CHARS_MAX: usize = 200;

/// Whether a text is fit to name something: neither empty nor overlong.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().nth(NAME_CHARS_MAX).is_none()
}
