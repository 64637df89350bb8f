"""LeNet-5 as published, on MNIST (LeCun et al. 1998, sections II and III, appendix C).

20 passes over the 60,000 digits without distortions, one digit a step; each weight has its own step
size, global rate / (0.02 + curvature); the global rate is 5e-4 for two passes, 2e-4 for three, 1e-4
for three, 5e-5 for four and 1e-5 after that. The loss is the paper's maximum a posteriori one
(equation 9): a class's penalty is the distance to its drawing, and a rubbish class has a constant
one.

What differs from the paper:
- The curvature of each weight is the running mean of its squared gradient over about 500 digits;
  the paper computes it by a second backward pass over 500 digits before each pass.
- The paper does not print the rubbish class's penalty; 1.0 is our choice.

Command   python -m train --config=configs/lenet5_1998.py
Hardware  2 CPU cores
Published 99.05 top-1 (0.95 % error)
Ours      not yet run to the end; 96.6 after 1 pass of 20
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe, or a few steps of it on tiny data if `arg` is "smoke"."""
    config = base.get_config()  # whose default data set is MNIST
    config.model.name = "lenet5_1998"
    config.batch_size = 1
    config.duration = "20 epochs"
    config.loss.reject_class_logit = -1.0
    config.optimizer.name = "diagonal_levenberg_marquardt"
    config.optimizer.options = ConfigDict({"mu": 0.02, "memory": 0.002})
    config.schedule.name = "steps"
    config.schedule.learning_rate = 5e-4
    config.schedule.boundaries = ("2 epochs", "5 epochs", "8 epochs", "12 epochs")
    config.schedule.factors = (0.4, 0.5, 0.5, 0.2)
    config.log.every = "6000 steps"
    config.eval.batch_size = 500
    return base.finish(config, arg)
