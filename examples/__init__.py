"""Programs that use Mainspring for something real. Each can be run, and each is a test."""
