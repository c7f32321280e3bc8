//! The refresher: reads secrets in files anew when they change, and tells which files it cannot use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Service;
use crate::upstream::signature::Keys;

/// How often files of secrets are looked at. What two looks in a row see counts, so a change does within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why files cannot be used, by their key, as it was last told.
pub(super) type Faults = BTreeMap<String, String>;

/// Looks at all files again and again, until the service ends.
pub(super) async fn run(service: Arc<Service>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let service = Arc::clone(&service);
        // On a thread of its own: a file may be on a network that does not answer.
        drop(tokio::task::spawn_blocking(move || service.refresh()).await);
    }
}

impl Service {
    /// Looks at all files of secrets once. What is new in them counts when two looks in a row saw it; where one cannot be used, what counted
    /// before still does.
    pub fn refresh(&self) {
        let mut faults = self.faults.lock();
        let tokens = &self.config.ops.tokens;
        self.refreshed(&mut faults, "ops.tokens_file", tokens.refresh());
        for (name, source) in &self.config.sources {
            let Some(tenant) = self.tenants.get(name) else { continue };
            if self.refreshed(&mut faults, &format!("sources.{name}.webhook_secrets_file"), source.webhook_secrets.refresh()) {
                tenant.keys.store(Arc::new(Keys::new(&source.webhook_secrets.live())));
            }
            let Some(token) = &source.api_token else { continue };
            if self.refreshed(&mut faults, &format!("sources.{name}.api_token_file"), token.refresh()) {
                tenant.token_renewed.store(true, Ordering::Relaxed);
                tenant.wake.notify_one();
            }
        }
        self.metrics.set_unusable_secret_files(faults.len());
    }

    /// Tells what a look at a file came to, each fault once; whether something else counts now.
    fn refreshed(&self, faults: &mut Faults, key: &str, looked: Result<bool, String>) -> bool {
        match looked {
            Ok(changed) => {
                faults.remove(key);
                if changed {
                    tracing::info!(key, "a file of secrets was read anew");
                    self.metrics.secrets_reloaded(true);
                }
                changed
            }
            Err(error) => {
                if faults.get(key) != Some(&error) {
                    tracing::warn!(key, error, "a file of secrets cannot be used; what counted before still counts");
                    self.metrics.secrets_reloaded(false);
                    faults.insert(key.to_owned(), error);
                }
                false
            }
        }
    }
}
