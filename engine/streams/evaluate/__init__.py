"""`engage model evaluate`: a purchase log through the pipeline and the trainer."""
