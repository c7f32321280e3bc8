//! Strangers on the webhook listener: what they can take, and that deliveries go on.
