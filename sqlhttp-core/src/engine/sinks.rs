//! Destinations of the results of a batch: [`BufferedSink`] keeps the results until the batch has ended,
//! [`StreamingSink`] sends large results in parts.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::parts::{self, PartSender};
use super::run::{RunError, Sink};
use crate::model::{Answer, Block, Columns, Ending, Error, Failure, Outcome, Part, StepInfo, StepOutcome};

/// A sink that keeps all results of a batch in memory, up to a maximum number of bytes.
#[derive(Debug)]
pub(crate) struct BufferedSink {
    steps: Vec<StepOutcome>,
    info: Vec<StepInfo>,
    blocks: Vec<Block>,
    bytes: u64,
    bytes_max: u64,
    limit_error: RunError,
}

impl BufferedSink {
    /// Makes a sink for a batch of `steps` steps. The sink keeps up to `bytes_max` bytes of rows. If there are more,
    /// the batch is stopped with `limit_error`.
    pub(crate) fn new(steps: usize, bytes_max: u64, limit_error: RunError) -> Self {
        let (steps, info) = (Vec::with_capacity(steps), Vec::with_capacity(steps));
        BufferedSink { steps, info, blocks: Vec::new(), bytes: 0, bytes_max, limit_error }
    }

    /// The index and the failure of the last step; `None` if that step succeeded or there is none.
    pub(crate) fn last_failure(&self) -> Option<(usize, Failure)> {
        match self.steps.last() {
            Some(StepOutcome::Failed(failure)) => Some((self.steps.len() - 1, failure.clone())),
            _ => None,
        }
    }

    pub(crate) fn into_outcome(self, ending: Ending) -> Outcome {
        Outcome { steps: self.steps, info: self.info, ending, log_index: 0 }
    }
}

impl Sink for BufferedSink {
    fn rows(&mut self, _columns: &Arc<Columns>, block: Block) -> Result<(), RunError> {
        self.bytes = self.bytes.saturating_add(block.byte_len() as u64);
        if self.bytes > self.bytes_max {
            return Err(self.limit_error.clone());
        }
        self.blocks.push(block);
        Ok(())
    }

    fn step(&mut self, mut outcome: StepOutcome, info: StepInfo) -> Result<(), RunError> {
        outcome.prepend_blocks(std::mem::take(&mut self.blocks));
        self.steps.push(outcome);
        self.info.push(info);
        Ok(())
    }
}

/// A sink that keeps results until the first block of rows is complete. From then on it sends all results in parts.
pub(crate) struct StreamingSink {
    steps: Vec<(StepOutcome, StepInfo)>,
    reply: Option<oneshot::Sender<Result<Answer, Error>>>,
    part_sender: Option<PartSender>,
    columns_sent: bool,
    /// Whether the batch is known to fail. Its rows are then dropped, so that the caller receives the failure and no
    /// rows before it.
    expects_failure: bool,
    open_channel: Box<dyn Fn() -> (PartSender, parts::PartReceiver) + Send>,
}

impl StreamingSink {
    pub(crate) fn new(
        reply: oneshot::Sender<Result<Answer, Error>>,
        open_channel: impl Fn() -> (PartSender, parts::PartReceiver) + Send + 'static,
    ) -> Self {
        StreamingSink {
            steps: Vec::new(),
            reply: Some(reply),
            part_sender: None,
            columns_sent: false,
            expects_failure: false,
            open_channel: Box::new(open_channel),
        }
    }

    /// Causes all further rows to be dropped, because a later step of the batch is known to fail.
    pub(crate) fn expect_failure(&mut self) {
        self.expects_failure = true;
    }

    /// Sends the end of the result to the caller: the last part of a stream, or the whole outcome if no stream was
    /// opened.
    pub(crate) fn end(mut self, ending: Ending) {
        if let Some(sender) = self.part_sender.take() {
            // The send fails if the caller has dropped the stream. That is no error.
            let _ = sender.send(Part::End(ending));
        } else if let Some(reply) = self.reply.take() {
            let (steps, info) = self.steps.into_iter().unzip();
            let _ = reply.send(Ok(Answer::Whole(Outcome { steps, info, ending, log_index: 0 })));
        }
    }

    /// Sends an error to the caller instead of an outcome; in a stream that has been opened, as its last element.
    pub(crate) fn fail(mut self, error: Error) {
        if let Some(sender) = self.part_sender.take() {
            sender.fail(error);
        } else if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }

    /// Opens the channel of parts, unless it is open, and sends the results of the steps so far into it.
    fn start_streaming(&mut self) -> Result<&PartSender, RunError> {
        if let Some(reply) = self.reply.take() {
            let (sender, receiver) = (self.open_channel)();
            reply.send(Ok(Answer::Parts(Box::new(receiver)))).map_err(|_| RunError::SinkClosed)?;
            for (step, info) in self.steps.drain(..) {
                sender.send(Part::Step(step, info)).map_err(|_| RunError::SinkClosed)?;
            }
            self.part_sender = Some(sender);
        }
        self.part_sender.as_ref().ok_or(RunError::SinkClosed)
    }
}

impl Sink for StreamingSink {
    fn rows(&mut self, columns: &Arc<Columns>, block: Block) -> Result<(), RunError> {
        if self.expects_failure {
            return Ok(());
        }
        let were_sent = std::mem::replace(&mut self.columns_sent, true);
        let sender = self.start_streaming()?;
        if !were_sent {
            sender.send(Part::Columns(columns.clone())).map_err(|_| RunError::SinkClosed)?;
        }
        sender.send(Part::Rows(block)).map_err(|_| RunError::SinkClosed)
    }

    fn step(&mut self, outcome: StepOutcome, info: StepInfo) -> Result<(), RunError> {
        self.columns_sent = false;
        match &self.part_sender {
            Some(sender) => sender.send(Part::Step(outcome, info)).map_err(|_| RunError::SinkClosed),
            None => {
                self.steps.push((outcome, info));
                Ok(())
            }
        }
    }
}
