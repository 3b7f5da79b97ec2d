//! What modules do now and then.

use comity_net::stop::Stop;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{Instrument, debug_span};

use crate::deliver;
use crate::home::Home;
use crate::module::MODULES;

/// Starts them; the first time at once.
pub(super) fn start(home: &Home, stop: &Stop) {
    for module in MODULES {
        let Some(tick) = module.tick else { continue };
        let (home, mut stop) = (home.clone(), stop.clone());
        tokio::spawn(async move {
            let mut interval = interval(tick.every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = interval.tick() => {}
                    () = stop.wait() => return,
                }
                let span = debug_span!("tick", module = module.name);
                async {
                    let deliveries = (tick.run)(home.clone()).await;
                    deliver::deliver(&home, deliveries).await;
                }
                .instrument(span)
                .await;
            }
        });
    }
}
