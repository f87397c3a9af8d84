//! Settings that are replaced while the agent runs.

use super::event_loop::EventLoop;
use crate::AgentSettings;
use crate::machine::Event;

impl EventLoop {
    /// Tasks that run keep their executors.
    pub(super) fn take_settings(&mut self, settings: &AgentSettings) {
        self.options.facts = settings.facts.clone();
        self.options.probe.clone_from(&settings.probe);
        self.tasks.replace_executors(settings.executors.clone());
        if let Some(target) = &mut self.target {
            target.introduce(&settings.facts);
        }
        self.tell(Event::Reconfigured {
            name: settings.facts.name.clone(),
            max_concurrent: settings.max_concurrent,
            default_timeout: settings.default_timeout,
        });
    }
}
