#include <utility>

#include "rows.h"

namespace unicorn {

RowKernel findRowKernel(const std::string& name) {
  static constexpr std::pair<const char*, RowKernel> kernels[] = {
      {"embed", embedRows},
      {"rmsNorm", rmsNormRows},
      {"matchRms", matchRmsRows},
      {"gaussianTopK", gaussianTopKRows},
      {"ropeTable", ropeTableRows},
      {"rope", ropeRows},
      {"kvWrite", kvWriteRows},
      {"activation", activationRows},
      {"glu", gluRows},
      {"softcap", softcapRows},
      {"scale", scaleRows},
      {"add", addRows},
      {"multiply", multiplyRows},
      {"mean", meanRows},
      {"altUpPredict", altUpPredictRows},
      {"altUpCorrect", altUpCorrectRows},
      {"altUpInject", altUpInjectRows},
      {"copy", copyRows},
      {"slice", sliceRows},
      {"concat", concatRows},
      {"takeRows", takeRowsRows},
      {"putRows", putRowsRows},
      {"logProbabilities", logProbabilitiesRows},
      {"segmentMean", segmentMeanRows},
      {"accumulateSquares", accumulateSquaresRows},
  };
  for (const auto& [known, kernel] : kernels) {
    if (name == known) return kernel;
  }
  return nullptr;
}

}  // namespace unicorn
